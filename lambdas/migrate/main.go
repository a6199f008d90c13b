// Command migrate is the function behind CloudFormation's resource
// Custom::RedshiftTable: it makes a table in Redshift, runs the migrations, and makes
// the user that loads the table, before Firehose delivers to it. When the resource is
// deleted it drops nothing.
package main

import (
	"net/http"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/millrace/millrace/lambdas/kit/boot"
	"github.com/millrace/millrace/lambdas/migrate/migration"
)

func main() {
	log := boot.Logger(os.Stderr)
	cfg, err := boot.Config(os.Getenv)
	if err != nil {
		log.Error("migrate can't start", "error", err.Error())
		os.Exit(1)
	}
	lambda.Start((&program{
		migrator: &migration.Migrator{Data: redshiftdata.NewFromConfig(cfg), Secrets: secretsmanager.NewFromConfig(cfg), Log: log},
		http:     http.DefaultClient, log: log,
	}).handle)
}
