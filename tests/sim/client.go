package sim

import (
	"context"
	"errors"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Client is what an instance of a function makes its calls with: DynamoDB, S3, and
// the output that Lambda reads metrics from.
type Client struct {
	world      *World
	invocation *invocation // nil before the first
}

// The errors of calls.
var (
	errThrottled = errors.New("ThrottlingException: rate exceeded")
	errLost      = errors.New("the answer was lost: connection reset by peer")
	errDead      = errors.New("the process is dead")
)

// fate is what is to become of a call.
type fate struct {
	err   error
	takes bool      // it takes effect
	at    time.Time // then; zero for now
	deaf  bool      // to its context
}

// fate of the call of a name. It depends on nothing but the name and how often
// the invocation made the call before. The world's lock is held.
func (inv *invocation) fate(of func() string) fate {
	inv.calls++
	if inv.dead {
		return fate{err: errDead}
	}
	if inv.share == 0 && inv.slow == 0 {
		return fate{takes: true}
	}
	name := of()
	inv.names[name]++
	name += " " + strconv.Itoa(inv.names[name])
	f := fate{takes: true}
	if draw(inv.salt, name) < inv.share {
		f.err, f.takes = errThrottled, false
		if draw(inv.salt+1, name) < .4 {
			f.err, f.takes = errLost, true
		}
	}
	if draw(inv.salt+2, name) < inv.slow {
		f.at = inv.began.Add(time.Duration(draw(inv.salt+3, name) * float64(inv.length)))
		f.deaf = inv.deaf
	}
	return f
}

// call makes a call that has an effect on the world. Slow ones land when their time
// has come, whether or not somebody still waits.
func call[T any](ctx context.Context, c *Client, writes bool, name func() string, effect func() (T, error)) (T, error) {
	var none T
	w := c.world
	w.mu.Lock()
	inv := c.invocation
	if inv == nil || !w.broken {
		defer w.mu.Unlock()
		return effect()
	}
	f := inv.fate(name)
	if f.at.IsZero() || !f.at.After(time.Now()) {
		defer w.mu.Unlock()
		if err := ctx.Err(); err != nil {
			return none, err
		}
		return land(w, f, name, effect)
	}
	w.mu.Unlock()
	if f.deaf {
		ctx = context.WithoutCancel(ctx)
	}
	timer := time.NewTimer(time.Until(f.at))
	defer timer.Stop()
	select {
	case <-timer.C:
		w.mu.Lock()
		defer w.mu.Unlock()
		if inv.dead && (!writes || draw(inv.salt+4, name()) < .5) {
			return none, errDead
		}
		return land(w, f, name, effect)
	case <-ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		if writes && f.takes && draw(inv.salt+4, name()) < .5 {
			w.inFlight++
			time.AfterFunc(time.Until(f.at), func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.note("%s lands, though nobody waits for it any more", name())
				_, _ = land(w, f, name, effect)
				w.inFlight--
				w.wake()
			})
		}
		return none, ctx.Err()
	}
}

// land makes the effect. The lock is held.
func land[T any](w *World, f fate, name func() string, effect func() (T, error)) (T, error) {
	var out T
	if f.takes {
		var err error
		if out, err = effect(); err != nil {
			return out, err
		}
	}
	if f.err != nil {
		var none T
		if w.options.Trace != nil {
			w.note("%s: %v", name(), f.err)
		}
		return none, f.err
	}
	return out, nil
}

func (c *Client) table(name *string) *Table {
	t := c.world.tables[aws.ToString(name)]
	if t == nil {
		panic("there is no table " + aws.ToString(name))
	}
	return t
}

// UpdateItem of DynamoDB.
func (c *Client) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	t := c.table(in.TableName)
	return call(ctx, c, true, func() string { return "UpdateItem " + t.name + " " + t.key(in.Key) }, func() (*dynamodb.UpdateItemOutput, error) {
		return t.update(in)
	})
}

// PutItem of DynamoDB.
func (c *Client) PutItem(ctx context.Context, in *dynamodb.PutItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	t := c.table(in.TableName)
	return call(ctx, c, true, func() string { return "PutItem " + t.name + " " + t.key(in.Item) }, func() (*dynamodb.PutItemOutput, error) {
		return t.put(in)
	})
}

var errInconsistent = errors.New("the simulation's tables know consistent reads only")

// GetItem of DynamoDB. Inconsistent reads aren't simulated: they are an error.
func (c *Client) GetItem(ctx context.Context, in *dynamodb.GetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	if !aws.ToBool(in.ConsistentRead) {
		return nil, errInconsistent
	}
	t := c.table(in.TableName)
	return call(ctx, c, false, func() string { return "GetItem " + t.name + " " + t.key(in.Key) }, func() (*dynamodb.GetItemOutput, error) {
		return t.get(in), nil
	})
}

// Query of DynamoDB. Inconsistent reads aren't simulated: they are an error.
func (c *Client) Query(ctx context.Context, in *dynamodb.QueryInput, _ ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	if !aws.ToBool(in.ConsistentRead) {
		return nil, errInconsistent
	}
	t := c.table(in.TableName)
	return call(ctx, c, false, func() string { return "Query " + t.name + " " + text(in.ExpressionAttributeValues) }, func() (*dynamodb.QueryOutput, error) {
		return t.query(in)
	})
}

// BatchWriteItem of DynamoDB, of puts. Some of the items may come back unprocessed.
func (c *Client) BatchWriteItem(ctx context.Context, in *dynamodb.BatchWriteItemInput, _ ...func(*dynamodb.Options)) (out *dynamodb.BatchWriteItemOutput, err error) {
	items := 0
	for _, requests := range in.RequestItems {
		items += len(requests)
	}
	if items < 1 || items > 25 {
		return nil, errors.New("ValidationException: a batch has 1 to 25 items")
	}
	out = &dynamodb.BatchWriteItemOutput{UnprocessedItems: map[string][]types.WriteRequest{}}
	for name, requests := range in.RequestItems {
		t := c.table(&name)
		for _, r := range requests {
			_, err := call(ctx, c, true, func() string { return "BatchWriteItem " + t.name + " " + t.key(r.PutRequest.Item) }, func() (struct{}, error) {
				return struct{}{}, t.write(t.key(r.PutRequest.Item), r.PutRequest.Item, nil, nil, nil)
			})
			switch {
			case errors.Is(err, errThrottled):
				out.UnprocessedItems[name] = append(out.UnprocessedItems[name], r)
			case err != nil:
				return nil, err
			}
		}
	}
	return out, nil
}

// PutObject of S3, to the failure bucket.
func (c *Client) PutObject(ctx context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	w := c.world
	_, err = call(ctx, c, true, func() string { return "PutObject " + aws.ToString(in.Key) }, func() (struct{}, error) {
		if w.unavailable() {
			return struct{}{}, errors.New("the failure bucket is away")
		}
		w.objects[aws.ToString(in.Key)] = body
		return struct{}{}, nil
	})
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rejected++
	return &s3.PutObjectOutput{}, nil
}

// Metrics takes the function's metric lines.
func (c *Client) Metrics() io.Writer { return (*metrics)(c.world) }

type metrics World

func (m *metrics) Write(line []byte) (int, error) {
	w := (*World)(m)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.metrics.Write(line)
}

// Pause is a wait that the seed draws, up to most: for handlers that wait randomly.
func (c *Client) Pause(most time.Duration) time.Duration {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	salt := uint64(math.MaxUint64)
	if c.invocation != nil {
		salt = c.invocation.salt
	}
	return time.Duration(unit(salt) * float64(most))
}
