// Reads profiles of credentials files with AWS's SDKs for Go, version 1 and 2, in each directory that is named.
// Standard input names the files and their profiles as JSON; standard output has what was read, directory by directory.
package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go/aws/credentials"
)

func version1(file, profile string) any {
	found, err := credentials.NewSharedCredentials(file, profile).Get()
	return map[string]string{
		"aws_access_key_id":     found.AccessKeyID,
		"aws_secret_access_key": found.SecretAccessKey,
		"aws_session_token":     found.SessionToken,
		"error":                 text(err),
	}
}

func version2(file, profile string) any {
	found, err := config.LoadSharedConfigProfile(context.Background(), profile,
		func(options *config.LoadSharedConfigOptions) {
			options.CredentialsFiles = []string{file}
			options.ConfigFiles = []string{}
		})
	found.Source = nil // what another profile holds
	return map[string]any{
		"aws_access_key_id":     found.Credentials.AccessKeyID,
		"aws_secret_access_key": found.Credentials.SecretAccessKey,
		"aws_session_token":     found.Credentials.SessionToken,
		"settings":              found,
		"error":                 text(err),
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	var files map[string][]string
	check(json.NewDecoder(os.Stdin).Decode(&files))
	answer := []map[string]map[string][]any{}
	for _, directory := range os.Args[1:] {
		check(os.Chdir(directory))
		found := map[string]map[string][]any{}
		for file, profiles := range files {
			found[file] = map[string][]any{}
			for _, profile := range profiles {
				found[file][profile] = []any{version1(file, profile), version2(file, profile)}
			}
		}
		answer = append(answer, found)
	}
	check(json.NewEncoder(os.Stdout).Encode(answer))
}
