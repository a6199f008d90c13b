package idempotent_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/lambdas/kit/idempotent"
	"github.com/millrace/millrace/tests/dynamo"
)

// effects counts how often something was done.
type effects int

func (e *effects) do(context.Context) ([]byte, error) {
	*e++
	return fmt.Append(nil, "receipt ", int(*e)), nil
}

// inTime runs a test with a clock that jumps.
func inTime(t *testing.T, f func(t *testing.T, db *dynamo.DB, l *idempotent.Ledger)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		db := newDB("ledger")
		f(t, db, &idempotent.Ledger{Client: db, Table: "ledger"})
	})
}

func TestALedgerDoesAThingOnceAndKeepsItsResult(t *testing.T) {
	inTime(t, func(t *testing.T, db *dynamo.DB, l *idempotent.Ledger) {
		var e effects
		for range 3 {
			result, err := l.Do(t.Context(), "order-7", []byte("12 EUR"), e.do)
			if string(result) != "receipt 1" || err != nil {
				t.Errorf("got %q, %v", result, err)
			}
		}
		if e != 1 || db.Calls("PutItem") != 3 || db.Calls("UpdateItem") != 1 {
			t.Errorf("%d effects with %d and %d calls", e, db.Calls("PutItem"), db.Calls("UpdateItem"))
		}
		if result, err := l.Do(t.Context(), "order-8", nil, func(context.Context) ([]byte, error) { return nil, nil }); result != nil || err != nil {
			t.Errorf("without a result: %q, %v", result, err)
		}
	})
}

func TestALedgersItemsAreAsDocumented(t *testing.T) {
	inTime(t, func(t *testing.T, db *dynamo.DB, l *idempotent.Ledger) {
		l.Name = "billing"
		l.Key = func(id string) map[string]types.AttributeValue {
			return dynamo.Item{"id": &types.AttributeValueMemberS{Value: "L#" + id}}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		now := time.Now()
		var during string
		_, err := l.Do(ctx, "7", []byte("x"), func(within context.Context) ([]byte, error) {
			during = dynamo.Text(db.Items("ledger")[0])
			if deadline, _ := within.Deadline(); !deadline.Equal(now.Add(30 * time.Second)) {
				t.Errorf("the effect has until %v", deadline)
			}
			return []byte("r"), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		attempt := db.Items("ledger")[0]["attempt"].(*types.AttributeValueMemberS).Value
		const sum = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881" // SHA-256 of x
		item := fmt.Sprintf("attempt=%s expires=%d id=L#billing/7 lease=%d payload=%s", attempt, now.Add(7*24*time.Hour).Unix(), now.Add(31*time.Second).UnixMilli(), sum)
		if want := item + " status=IN_PROGRESS"; during != want {
			t.Errorf("during the effect the item is\n%s, want\n%s", during, want)
		}
		if got, want := dynamo.Text(db.Items("ledger")[0]), item+" result=72 status=COMPLETED"; got != want {
			t.Errorf("after it the item is\n%s, want\n%s", got, want)
		}
	})
}

func TestAnotherPayloadIsRefused(t *testing.T) {
	inTime(t, func(t *testing.T, _ *dynamo.DB, l *idempotent.Ledger) {
		var e effects
		if _, err := l.Do(t.Context(), "order-7", []byte("12 EUR"), e.do); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Do(t.Context(), "order-7", []byte("13 EUR"), e.do); !errors.Is(err, idempotent.ErrPayload) || !strings.Contains(err.Error(), "order-7") || strings.Contains(err.Error(), "EUR") {
			t.Errorf("got %v", err)
		}
		if result, err := l.Do(t.Context(), "order-7", nil, e.do); string(result) != "receipt 1" || err != nil {
			t.Errorf("without a payload: %q, %v", result, err)
		}
		if done, err := l.Transact(t.Context(), "order-7", []byte("13 EUR"), nil); done || !errors.Is(err, idempotent.ErrPayload) {
			t.Errorf("Transact: %v, %v", done, err)
		}
		if e != 1 {
			t.Errorf("%d effects", e)
		}
	})
}

func TestWhatFailedIsDoneAgain(t *testing.T) {
	inTime(t, func(t *testing.T, db *dynamo.DB, l *idempotent.Ledger) {
		var e effects
		away := errors.New("the printer is away")
		if _, err := l.Do(t.Context(), "7", nil, func(context.Context) ([]byte, error) { return nil, away }); !errors.Is(err, away) {
			t.Errorf("got %v", err)
		}
		if len(db.Items("ledger")) != 0 {
			t.Error("the id isn't free")
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic is swallowed")
				}
			}()
			_, _ = l.Do(t.Context(), "7", nil, func(context.Context) ([]byte, error) { panic("at the printer") })
		}()
		if _, err := l.Do(t.Context(), "7", nil, e.do); err != nil || e != 1 {
			t.Errorf("%d effects, %v", e, err)
		}
	})
}

func TestAnAttemptKeepsOthersAwayUntilItsLeaseIsOver(t *testing.T) {
	inTime(t, func(t *testing.T, db *dynamo.DB, l *idempotent.Ledger) {
		var e effects
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		// The first attempt crashes: it neither completes nor releases.
		crashed := errors.New("killed")
		db.Fault = func(call string) dynamo.Fault {
			if call == "DeleteItem" || call == "UpdateItem" {
				return dynamo.Fault{Before: crashed}
			}
			return dynamo.Fault{}
		}
		if _, err := l.Do(ctx, "7", []byte("x"), func(context.Context) ([]byte, error) { return nil, crashed }); !errors.Is(err, crashed) {
			t.Fatal(err)
		}
		db.Fault = nil
		time.Sleep(61 * time.Second) // to the very end of its lease
		if _, err := l.Do(t.Context(), "7", []byte("x"), e.do); !errors.Is(err, idempotent.ErrInProgress) {
			t.Errorf("within the lease: %v", err)
		}
		if done, err := l.Transact(t.Context(), "7", []byte("x"), nil); done || !errors.Is(err, idempotent.ErrInProgress) {
			t.Errorf("Transact within the lease: %v, %v", done, err)
		}
		time.Sleep(time.Second)
		if _, err := l.Do(t.Context(), "7", []byte("y"), e.do); !errors.Is(err, idempotent.ErrPayload) {
			t.Errorf("another payload after the lease: %v", err)
		}
		if _, err := l.Do(t.Context(), "7", []byte("x"), e.do); err != nil || e != 1 {
			t.Errorf("after the lease: %d effects, %v", e, err)
		}
	})
}

// The limit: the effect happened, the note of it didn't.
func TestACrashBetweenEffectAndNoteMeansASecondEffect(t *testing.T) {
	inTime(t, func(t *testing.T, db *dynamo.DB, l *idempotent.Ledger) {
		l.Lease = 10 * time.Second
		var e effects
		db.Fault = func(call string) dynamo.Fault {
			if call == "UpdateItem" {
				return dynamo.Fault{Before: errors.New("throttled")}
			}
			return dynamo.Fault{}
		}
		if _, err := l.Do(t.Context(), "7", nil, e.do); err == nil || !strings.Contains(err.Error(), "the effect for 7 happened, but ledger doesn't know") {
			t.Errorf("got %v", err)
		}
		db.Fault = nil
		if _, err := l.Do(t.Context(), "7", nil, e.do); !errors.Is(err, idempotent.ErrInProgress) || e != 1 {
			t.Errorf("the claim isn't kept: %d effects, %v", e, err)
		}
		time.Sleep(11 * time.Second)
		if _, err := l.Do(t.Context(), "7", nil, e.do); err != nil || e != 2 {
			t.Errorf("%d effects, %v: the documented limit is wrong", e, err)
		}
	})
}

func TestAnEffectBeyondItsLeaseIsTold(t *testing.T) {
	inTime(t, func(t *testing.T, _ *dynamo.DB, l *idempotent.Ledger) {
		l.Lease = time.Second
		var e effects
		_, err := l.Do(t.Context(), "7", nil, func(within context.Context) ([]byte, error) {
			<-within.Done() // it is told, but doesn't listen
			time.Sleep(time.Second)
			if result, err := l.Do(t.Context(), "7", nil, e.do); string(result) != "receipt 1" || err != nil {
				t.Errorf("the other attempt: %q, %v", result, err)
			}
			return e.do(within)
		})
		if !errors.Is(err, idempotent.ErrLeaseLost) {
			t.Errorf("got %v", err)
		}
		if result, err := l.Do(t.Context(), "7", nil, e.do); string(result) != "receipt 1" || err != nil || e != 2 {
			t.Errorf("afterwards: %q, %v", result, err)
		}
	})
}

func TestExpiredIDsAreForgotten(t *testing.T) {
	inTime(t, func(t *testing.T, _ *dynamo.DB, l *idempotent.Ledger) {
		l.TTL = time.Hour
		var e effects
		for range 2 {
			for range 2 {
				if _, err := l.Do(t.Context(), "7", nil, e.do); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Hour + 2*time.Second)
		}
		if e != 2 {
			t.Errorf("%d effects in two hours", e)
		}
		// But not while an attempt is at work.
		l.TTL, l.Lease = time.Second, time.Hour
		_, err := l.Do(t.Context(), "8", nil, func(context.Context) ([]byte, error) {
			time.Sleep(30 * time.Minute)
			if _, err := l.Do(t.Context(), "8", nil, e.do); !errors.Is(err, idempotent.ErrInProgress) {
				t.Errorf("amid the work: %v", err)
			}
			return nil, nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestALostAnswerIsNoSecondAttempt(t *testing.T) {
	inTime(t, func(t *testing.T, db *dynamo.DB, _ *idempotent.Ledger) {
		l := &idempotent.Ledger{Client: repeating{db}, Table: "ledger"}
		var e effects
		result, err := l.Do(t.Context(), "7", nil, e.do)
		if string(result) != "receipt 1" || err != nil || e != 1 {
			t.Errorf("%q, %v, %d effects", result, err, e)
		}
	})
}

// repeating makes every call twice, as the SDK does when an answer gets lost.
type repeating struct{ *dynamo.DB }

func (r repeating) PutItem(ctx context.Context, in *dynamodb.PutItemInput, f ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	_, _ = r.DB.PutItem(ctx, in, f...)
	return r.DB.PutItem(ctx, in, f...)
}

func (r repeating) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, f ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	_, _ = r.DB.UpdateItem(ctx, in, f...)
	return r.DB.UpdateItem(ctx, in, f...)
}

func TestWhatHappenedIsNotedThoughTheInvocationIsOver(t *testing.T) {
	inTime(t, func(t *testing.T, _ *dynamo.DB, l *idempotent.Ledger) {
		ctx, cancel := context.WithCancel(t.Context())
		var e effects
		if _, err := l.Do(ctx, "7", nil, func(ctx context.Context) ([]byte, error) { cancel(); return e.do(ctx) }); err != nil {
			t.Error(err)
		}
		if result, err := l.Do(t.Context(), "7", nil, e.do); string(result) != "receipt 1" || err != nil {
			t.Errorf("%q, %v", result, err)
		}
	})
}

func TestAResultThatIsTooLargeIsToldEveryTime(t *testing.T) {
	inTime(t, func(t *testing.T, _ *dynamo.DB, l *idempotent.Ledger) {
		n := 0
		for range 2 {
			_, err := l.Do(t.Context(), "7", nil, func(context.Context) ([]byte, error) { n++; return make([]byte, idempotent.MaxResult+1), nil })
			if !errors.Is(err, idempotent.ErrResult) || !strings.Contains(err.Error(), "262145 bytes") {
				t.Errorf("got %v", err)
			}
		}
		if n != 1 {
			t.Errorf("%d effects", n)
		}
	})
}

func TestSomebodyElsesItemIsLeftAlone(t *testing.T) {
	inTime(t, func(t *testing.T, db *dynamo.DB, l *idempotent.Ledger) {
		theirs := key("7")
		theirs["balance"] = n(12)
		if _, err := db.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("ledger"), Item: theirs}); err != nil {
			t.Fatal(err)
		}
		var e effects
		_, err := l.Do(t.Context(), "7", nil, e.do)
		_, txErr := l.Transact(t.Context(), "7", nil, nil)
		for _, err := range []error{err, txErr} {
			if err == nil || !strings.Contains(err.Error(), "has no status") {
				t.Errorf("got %v", err)
			}
		}
		if got := dynamo.Text(db.Items("ledger")[0]); got != "balance=12 id=7" || e != 0 {
			t.Errorf("the item is %s", got)
		}
	})
}

func TestTransactWritesOnce(t *testing.T) {
	db := newDB("ledger", "items")
	l := &idempotent.Ledger{Client: db, Table: "ledger"}
	for i, want := range []bool{true, false} {
		done, err := l.Transact(t.Context(), "7", []byte("x"), []types.TransactWriteItem{put("items", fmt.Sprint(i))})
		if done != want || err != nil {
			t.Errorf("attempt %d: %v, %v", i, done, err)
		}
	}
	if len(db.Items("items")) != 1 {
		t.Errorf("%d items", len(db.Items("items")))
	}
	if _, err := l.Transact(t.Context(), "8", nil, make([]types.TransactWriteItem, 100)); err == nil || !strings.Contains(err.Error(), "100 writes for 8: a transaction holds 99") {
		t.Errorf("got %v", err)
	}
}

// However attempts overlap and whatever calls fail: a thing is done again only if the
// note of it failed or its lease was over, and every such case is told.
func TestEffectsRepeatOnlyAfterWhatTheDocNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubble{t}, func(t *rapid.T) {
			db := newDB("ledger")
			l := &idempotent.Ledger{Client: db, Table: "ledger", Lease: 10 * time.Second}
			unnoted := false // of the call that is under way
			db.Fault = func(call string) dynamo.Fault {
				switch rapid.SampledFrom([]string{"", "", "", "before", "after"}).Draw(t, call) {
				case "before":
					unnoted = unnoted || call == "UpdateItem"
					return dynamo.Fault{Before: errors.New("throttled")}
				case "after":
					return dynamo.Fault{After: errLost}
				}
				return dynamo.Fault{}
			}
			allowed, happened, succeeded := 1, 0, false
			for range rapid.IntRange(1, 12).Draw(t, "attempts") {
				unnoted = false
				_, err := l.Do(context.Background(), "7", nil, func(context.Context) ([]byte, error) {
					if rapid.Bool().Draw(t, "fails") {
						return nil, errors.New("it didn't happen")
					}
					happened++
					return nil, nil
				})
				if unnoted {
					allowed++
				}
				succeeded = succeeded || err == nil
				if happened > allowed {
					t.Fatalf("it happened %d times, and %d notes failed", happened, allowed-1)
				}
				if err == nil && happened == 0 {
					t.Fatal("success without an effect")
				}
				time.Sleep(time.Duration(rapid.IntRange(0, 12).Draw(t, "seconds")) * time.Second)
			}
			if succeeded {
				db.Fault = nil
				before := happened
				if _, err := l.Do(context.Background(), "7", nil, func(context.Context) ([]byte, error) { happened++; return nil, nil }); err != nil || happened != before {
					t.Fatalf("after success it happened again (%v)", err)
				}
			}
		})
	})
}
