package spec_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/itchyny/gojq"

	"github.com/millrace/millrace/constructs/spec"
)

// first is what an expression of jq gives for a record.
func first(t *testing.T, expression string, record any) any {
	t.Helper()
	query, err := gojq.Parse(expression)
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	value, ok := query.Run(record).Next()
	if err, failed := value.(error); failed || !ok {
		t.Fatalf("%s gives nothing: %v", expression, err)
	}
	return value
}

// The query that Firehose is given says of a record what each expression says alone.
func TestARoutesQuerySaysWhatItsExpressionsSay(t *testing.T) {
	var record any
	if err := json.Unmarshal([]byte(`{"type":"shop.orders","table":"orders","op":null,"at":{"table":"deep"},"n":3}`), &record); err != nil {
		t.Fatal(err)
	}
	expressions := []string{
		`.table`, `.at.table`, `"orders"`, `"it's, {odd}: |"`, `.type | split(".") | .[0]`, `.op // "insert"`, `if .n > 2 then "many" else "few" end`,
		`.type|ltrimstr("shop.")`, `"t" + (.n | tostring)`, `.["table"]`, `.type as $t | $t`, `[.type,.table] | join(",")`,
	}
	for _, database := range expressions {
		for _, table := range expressions {
			d := spec.IcebergDelivery{Databases: []string{"shop"}, Route: spec.IcebergRoute{Database: database, Table: table, Operation: expressions[5]}}
			if err := d.Validate(""); err != nil {
				t.Fatalf("%s, %s: %v", database, table, err)
			}
			want := map[string]any{
				"destinationDatabaseName": first(t, database, record), "destinationTableName": first(t, table, record), "operation": "insert",
			}
			if diff := cmp.Diff(want, first(t, d.Query(), record)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", d.Query(), diff)
			}
		}
	}
}

// What an expression leaves open mustn't reach into the rest of the query.
func FuzzARouteStaysInItsField(f *testing.F) {
	for _, seed := range []string{".t", `.a),x:(.b`, ".t # the table", `"a" }`, "def f: 1; f", "", "$__loc__", `"\("`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		d := spec.IcebergDelivery{Databases: []string{"shop"}, Route: spec.IcebergRoute{Database: `"shop"`, Table: expression, Operation: `"insert"`}}
		if d.Validate("") != nil {
			return
		}
		query, err := gojq.Parse(d.Query())
		if err != nil {
			t.Fatalf("%q makes %s, which is no query: %v", expression, d.Query(), err)
		}
		object := query.Term
		if object == nil || object.Object == nil || len(object.Object.KeyVals) != 3 {
			t.Fatalf("%q makes %s", expression, d.Query())
		}
	})
}
