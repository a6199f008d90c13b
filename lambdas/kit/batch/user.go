package batch

import (
	"github.com/millrace/millrace/lambdas/kit/decode"
	"github.com/millrace/millrace/lambdas/kit/kpl"
)

// UserRecord is a record as its producer put it: by itself, or in one that the Kinesis
// Producer Library (KPL) aggregated.
type UserRecord struct {
	PartitionKey string
	// ExplicitHashKey is the decimal hash key that the producer gave instead of the
	// partition key's MD5, if the record came in an aggregated one; "" if it gave none.
	ExplicitHashKey string
	// Data is never nil. It may be empty.
	Data []byte
	// Sub is the sub-sequence number: the record's index in the aggregated one, 0 if it
	// came by itself.
	Sub int
	// Kinesis is the record of the stream that it came in, never nil. Its sequence number
	// and Sub are the user record's identity.
	Kinesis *decode.Record
}

// UserRecords is a stream of Kinesis whose producers may aggregate (package kpl). Its
// records' keys are those that the producers gave.
//
// Lambda counts in records of the stream: after a failure all user records come again of
// the one that the failed record came in, also those that succeeded.
var UserRecords = Source[UserRecord]{
	read: func(payload []byte) ([]UserRecord, decode.TumblingWindow, error) {
		event, err := decode.Kinesis(payload)
		return userRecords(event.Records), event.Window, err
	},
	key:      func(r *UserRecord) string { return r.PartitionKey },
	sequence: func(r *UserRecord) string { return r.Kinesis.SequenceNumber },
	shard:    func(r *UserRecord) string { return r.Kinesis.ShardID() },
	rejected: func(r *UserRecord) Rejected {
		rejected := Kinesis.rejected(r.Kinesis)
		rejected.SubSequenceNumber, rejected.PartitionKey, rejected.Data = r.Sub, r.PartitionKey, r.Data
		return rejected
	},
}

func userRecords(records []decode.Record) []UserRecord {
	users := make([]UserRecord, 0, len(records))
	var children []kpl.Record
	for i := range records {
		r := &records[i]
		var aggregated bool
		if children, aggregated = kpl.Split(r.Data, children[:0]); !aggregated {
			users = append(users, UserRecord{PartitionKey: r.PartitionKey, Data: r.Data, Kinesis: r})
			continue
		}
		for _, c := range children {
			user := UserRecord{ExplicitHashKey: string(c.ExplicitHashKey), Data: c.Data, Sub: c.Sub, Kinesis: r}
			if n := len(users); n > 0 && users[n-1].PartitionKey == string(c.PartitionKey) {
				user.PartitionKey = users[n-1].PartitionKey // as most are: one text for all
			} else {
				user.PartitionKey = string(c.PartitionKey)
			}
			users = append(users, user)
		}
	}
	return users
}
