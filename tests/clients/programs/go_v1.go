// Asks STS who it is, for ever: aws-sdk-go, version 1.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/sts"
)

func main() {
	made := session.Must(session.NewSession(&aws.Config{Endpoint: aws.String(os.Getenv("ENDPOINT"))}))
	client := sts.New(made)
	for {
		if _, err := client.GetCallerIdentity(&sts.GetCallerIdentityInput{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		time.Sleep(2 * time.Second)
	}
}
