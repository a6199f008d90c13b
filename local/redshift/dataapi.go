package redshift

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lib/pq"
)

// statement is one, or a transaction, that the Data API was given.
type statement struct {
	sqls    []string
	batch   bool
	status  string
	failed  int // which of sqls, from 0
	message string
	results []result
}

type result struct {
	columns []string
	rows    [][]any
}

// mostRows is how many rows a page of results has.
const mostRows = 1000

// ServeHTTP is Redshift's Data API: ExecuteStatement, BatchExecuteStatement,
// DescribeStatement and GetStatementResult. Statements run one after the other in the
// background, each batch as a transaction.
func (w *Warehouse) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	_, operation, ok := strings.Cut(in.Header.Get("X-Amz-Target"), "RedshiftData.")
	body, err := io.ReadAll(io.LimitReader(in.Body, 16<<20))
	switch {
	case err != nil:
		refuse(out, "ValidationException", err.Error())
	case !ok:
		refuse(out, "UnknownOperationException", "this is Redshift's Data API, and nothing else")
	case !strings.Contains(in.Header.Get("Authorization"), "/redshift-data/"):
		refuse(out, "MissingAuthenticationTokenException", "the request isn't signed for redshift-data")
	case operation == "ExecuteStatement" || operation == "BatchExecuteStatement":
		w.execute(in.Context(), out, body, operation == "BatchExecuteStatement")
	case operation == "DescribeStatement":
		w.describe(out, body)
	case operation == "GetStatementResult":
		w.result(out, body)
	default:
		refuse(out, "UnknownOperationException", "the stand-in has no "+operation)
	}
}

func refuse(out http.ResponseWriter, kind, message string) {
	out.Header().Set("X-Amzn-Errortype", kind)
	answer(out, http.StatusBadRequest, map[string]any{"__type": kind, "message": message})
}

func answer(out http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"__type":"InternalServerException"}`)
	}
	out.Header().Set("Content-Type", "application/x-amz-json-1.1")
	out.WriteHeader(status)
	_, _ = out.Write(text)
}

// decode reads a request, or refuses what it doesn't know.
func decode(out http.ResponseWriter, body []byte, into any) bool {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		refuse(out, "ValidationException", "the stand-in can't read the request: "+err.Error())
		return false
	}
	return true
}

func (w *Warehouse) execute(ctx context.Context, out http.ResponseWriter, body []byte, batch bool) {
	var in struct {
		Sql                                                                               string
		Sqls                                                                              []string
		Database, SecretArn, WorkgroupName, ClusterIdentifier, ClientToken, StatementName string
	}
	if !decode(out, body, &in) {
		return
	}
	if !batch {
		in.Sqls = []string{in.Sql}
	}
	if len(in.Sqls) < 1 || len(in.Sqls) > 40 || slices.Contains(in.Sqls, "") {
		refuse(out, "ValidationException", "there are 1 to 40 statements")
		return
	}
	if in.Database != w.options.Database || (in.WorkgroupName == "") == (in.ClusterIdentifier == "") {
		refuse(out, "ValidationException", fmt.Sprintf("the stand-in has the database %s, in one workgroup or cluster", w.options.Database))
		return
	}
	user, _, err := credentials(ctx, w.options.Secrets, in.SecretArn)
	if err == nil && user != w.options.Admin {
		err = fmt.Errorf("password authentication failed for user %q", user)
	}
	if err != nil {
		refuse(out, "ValidationException", "the secret "+in.SecretArn+": "+err.Error())
		return
	}
	id, s := rand.Text(), &statement{sqls: in.Sqls, batch: batch, status: "SUBMITTED"}
	w.mu.Lock()
	w.statements[id] = s
	w.mu.Unlock()
	w.background.Go(func() { w.run(s) })
	answer(out, http.StatusOK, map[string]any{"Id": id, "Database": in.Database, "CreatedAt": time.Now().Unix()})
}

// run runs a statement or a transaction.
func (w *Warehouse) run(s *statement) {
	ctx := context.Background()
	failed, results := -1, []result(nil)
	err := w.as(ctx, w.options.Admin, func(tx *sql.Tx) error {
		w.mu.Lock()
		s.status = "STARTED"
		w.mu.Unlock()
		for i, text := range s.sqls {
			failed = i
			text, err := Translate(text)
			if err != nil {
				return err
			}
			rows, err := tx.QueryContext(ctx, text)
			if err != nil {
				return err
			}
			columns, values, err := read(rows)
			if err != nil {
				return err
			}
			results = append(results, result{columns, values})
		}
		return nil
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.status, s.results = "FINISHED", results; err != nil {
		s.status, s.failed, s.message = "FAILED", failed, message(err)
	}
}

// message is an error as Redshift words it.
func message(err error) string {
	var refused *pq.Error
	if errors.As(err, &refused) {
		text := "ERROR: " + refused.Message
		if refused.Detail != "" {
			text += "\n  Detail: " + refused.Detail
		}
		return text
	}
	return err.Error()
}

// find is the statement of an id, and which of a batch it names; -1 for all.
func (w *Warehouse) find(id string) (s *statement, which int) {
	id, number, some := strings.Cut(id, ":")
	s, which = w.statements[id], -1
	if s != nil && some {
		if _, err := fmt.Sscan(number, &which); err != nil || which < 1 || which > len(s.sqls) {
			return nil, 0
		}
		which--
	}
	return s, which
}

func (w *Warehouse) describe(out http.ResponseWriter, body []byte) {
	var in struct{ Id string }
	if !decode(out, body, &in) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s, which := w.find(in.Id)
	if s == nil || which >= 0 {
		refuse(out, "ResourceNotFoundException", "there is no statement "+in.Id)
		return
	}
	told := map[string]any{"Id": in.Id, "Status": s.status, "Database": w.options.Database, "QueryString": s.sqls[0]}
	if s.status == "FAILED" {
		told["Error"] = s.message
	}
	if !s.batch {
		told["HasResultSet"] = s.status == "FINISHED" && len(s.results[0].columns) > 0
		answer(out, http.StatusOK, told)
		return
	}
	subs := make([]map[string]any, len(s.sqls))
	for i, text := range s.sqls {
		subs[i] = map[string]any{"Id": fmt.Sprintf("%s:%d", in.Id, i+1), "QueryString": text, "Status": s.status}
		switch {
		case s.status == "FINISHED":
			subs[i]["HasResultSet"] = len(s.results[i].columns) > 0
		case s.status == "FAILED" && i == s.failed:
			subs[i]["Error"] = s.message
		case s.status == "FAILED":
			subs[i]["Status"] = "ABORTED"
		}
	}
	told["SubStatements"] = subs
	if s.status == "FAILED" {
		told["Error"] = fmt.Sprintf("Query #%d failed with %s", s.failed+1, s.message)
	}
	answer(out, http.StatusOK, told)
}

func (w *Warehouse) result(out http.ResponseWriter, body []byte) {
	var in struct{ Id, NextToken string }
	if !decode(out, body, &in) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s, which := w.find(in.Id)
	if s != nil && !s.batch {
		which = 0
	}
	if s == nil || which < 0 || s.status != "FINISHED" || len(s.results[which].columns) == 0 {
		refuse(out, "ResourceNotFoundException", in.Id+" has no result")
		return
	}
	from := 0
	if in.NextToken != "" {
		if _, err := fmt.Sscan(in.NextToken, &from); err != nil || from < 0 || from > len(s.results[which].rows) {
			refuse(out, "ValidationException", "NextToken isn't one of this API's")
			return
		}
	}
	rows := s.results[which].rows[from:]
	told := map[string]any{"TotalNumRows": len(s.results[which].rows)}
	if len(rows) > mostRows {
		rows, told["NextToken"] = rows[:mostRows], fmt.Sprint(from+mostRows)
	}
	records := make([][]map[string]any, len(rows))
	for i, row := range rows {
		for _, value := range row {
			records[i] = append(records[i], field(value))
		}
	}
	columns := make([]map[string]any, len(s.results[which].columns))
	for i, name := range s.results[which].columns {
		columns[i] = map[string]any{"name": name, "label": name}
	}
	told["Records"], told["ColumnMetadata"] = records, columns
	answer(out, http.StatusOK, told)
}

// field is a value as the Data API has it.
func field(value any) map[string]any {
	switch v := value.(type) {
	case nil:
		return map[string]any{"isNull": true}
	case bool:
		return map[string]any{"booleanValue": v}
	case int64:
		return map[string]any{"longValue": v}
	case float64:
		return map[string]any{"doubleValue": v}
	case []byte:
		return map[string]any{"stringValue": string(v)}
	case time.Time:
		return map[string]any{"stringValue": v.UTC().Format("2006-01-02 15:04:05.999999")}
	default:
		return map[string]any{"stringValue": fmt.Sprint(v)}
	}
}
