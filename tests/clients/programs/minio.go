// Reads an object, for ever: minio-go, with the chain of providers that restic uses.
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

func main() {
	at, err := url.Parse(os.Getenv("ENDPOINT"))
	if err != nil {
		panic(err)
	}
	found := credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{},
		&credentials.FileAWSCredentials{},
		&credentials.IAM{Client: &http.Client{Transport: http.DefaultTransport}},
	})
	client, err := minio.New(at.Host, &minio.Options{Creds: found, Region: os.Getenv("AWS_REGION")})
	if err != nil {
		panic(err)
	}
	for {
		if _, err := client.StatObject(context.Background(), "bucket", "object", minio.StatObjectOptions{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		time.Sleep(2 * time.Second)
	}
}
