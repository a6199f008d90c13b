package idempotent_test

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace/millrace/lambdas/kit/idempotent"
	"github.com/millrace/millrace/tests/dynamo"
)

// In a function the client is dynamodb.NewFromConfig(cfg).
func client(tables ...string) *dynamo.DB { return newDB(tables...) }

// A customer's orders are counted, and the first two records come twice.
func ExampleAggregate() {
	type order struct {
		at    idempotent.Position
		cents int
	}
	customers := idempotent.Aggregate{Client: client("customers"), Table: "customers"}
	count := func(customer string, orders ...order) {
		at := make([]idempotent.Position, len(orders))
		for i, o := range orders {
			at[i] = o.at
		}
		applied, err := customers.Apply(context.Background(), key(customer), at, func(from int) (idempotent.Update, error) {
			var sum struct {
				Orders int `dynamodbav:"orders"`
				Cents  int `dynamodbav:"cents"`
			}
			for _, o := range orders[from:] {
				sum.Orders++
				sum.Cents += o.cents
			}
			add, err := attributevalue.MarshalMap(sum)
			return idempotent.Update{Add: add}, err
		})
		fmt.Println(applied, "of", len(orders), err)
	}

	shard := "shardId-000000000000"
	first, second := order{idempotent.Position{Shard: shard, Sequence: "100"}, 1200}, order{idempotent.Position{Shard: shard, Sequence: "107"}, 300}
	third := order{idempotent.Position{Shard: shard, Sequence: "111"}, 50}
	count("ada", first, second)
	count("ada", first, second, third)
	// Output:
	// 2 of 2 <nil>
	// 1 of 3 <nil>
}

// Money moves from one account to another: both or neither, once.
func ExampleTransaction() {
	db := client("marks", "accounts")
	transfers := []struct {
		from, to string
		cents    int
	}{{"ada", "ben", 500}, {"ben", "cem", 200}}
	at := []idempotent.Position{{Shard: "shardId-000000000000", Sequence: "100"}, {Shard: "shardId-000000000000", Sequence: "104"}}

	tx := idempotent.Transaction{Client: db, Table: "marks", Name: "transfers"}
	for range 2 {
		applied, err := tx.Apply(context.Background(), at, func(from, to int) ([]types.TransactWriteItem, error) {
			changes := map[string]int{} // an item can be written once in a transaction
			for _, t := range transfers[from:to] {
				changes[t.from] -= t.cents
				changes[t.to] += t.cents
			}
			var writes []types.TransactWriteItem
			for account, cents := range changes {
				writes = append(writes, types.TransactWriteItem{Update: &types.Update{
					TableName: aws.String("accounts"), Key: key(account), UpdateExpression: aws.String("ADD #c :c"),
					ExpressionAttributeNames: map[string]string{"#c": "cents"}, ExpressionAttributeValues: dynamo.Item{":c": n(cents)},
				}})
			}
			return writes, nil
		})
		fmt.Println(applied, err)
	}
	for _, account := range db.Items("accounts") {
		fmt.Println(dynamo.Text(account))
	}
	// Output:
	// 2 <nil>
	// 0 <nil>
	// cents=-500 id=ada
	// cents=300 id=ben
	// cents=200 id=cem
}

// The producer numbers the states of each sensor.
func ExampleLatest() {
	sensors := idempotent.Latest{Client: client("sensors"), Table: "sensors", Guard: "version"}
	for _, version := range []int{1, 3, 2, 3} {
		state := key("door-4")
		state["version"] = n(version)
		written, err := sensors.Put(context.Background(), state)
		fmt.Println(version, written, err)
	}
	// Output:
	// 1 true <nil>
	// 3 true <nil>
	// 2 false <nil>
	// 3 false <nil>
}

// A mail is sent once per order, whatever comes again.
func ExampleLedger() {
	mails := idempotent.Ledger{Client: client("ledger"), Table: "ledger", Name: "mails"}
	for range 2 {
		receipt, err := mails.Do(context.Background(), "order-7", []byte(`{"order":7}`), func(context.Context) ([]byte, error) {
			fmt.Println("sending, with order-7 as the service's idempotency key")
			return []byte("message-1"), nil
		})
		fmt.Println(string(receipt), err)
	}
	// Output:
	// sending, with order-7 as the service's idempotency key
	// message-1 <nil>
	// message-1 <nil>
}
