package runtimeapi_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/millrace/millrace/local/runtimeapi"
)

func Example() {
	f, err := runtimeapi.New(runtimeapi.Options{
		Path:    "build/standings/bootstrap",
		Env:     map[string]string{"STANDINGS_TABLE": "Standings"},
		Timeout: 30 * time.Second,
		Log:     os.Stderr,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	result, err := f.Invoke(context.Background(), []byte(`{"Records":[]}`))
	if err != nil {
		log.Fatal(err) // it couldn't be invoked
	}
	fmt.Println(result.FunctionError, string(result.Payload))
}
