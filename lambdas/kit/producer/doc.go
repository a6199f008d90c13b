// Package producer puts records on a Kinesis stream in full batches and knows
// which of them the stream took.
//
// Only what the stream didn't take is sent again, after a random wait that grows.
// Whoever adds records waits meanwhile: a producer never holds more than one batch.
// What it gives up it still holds, and says so. Options.Ordered keeps the order of each
// partition key's records, Options.Aggregate puts many small records into one, and
// [Producer.Run] takes records from many goroutines.
//
// # Partition keys
//
// A partition key is for two things: records with the same one stay in their order, and
// come to one shard, which takes 1 MB or 1,000 records a second, whatever the stream
// does.
//
//	key                     order                       load
//	a field ([Field])       of each value's records     even, if no value has much of it
//	[RandomKey]             none                        even
//	[TimeBucket]            of a value's records in     that of the value, on another
//	                        a bucket                    shard in each bucket
//	[Salted], at random     none of the hot value's     a hot value's, over so many keys
//	[Salted], by a part     of each part's records      the same, if parts are many
//
// # Limits
//
// From the API reference of PutRecords, and how they are kept:
//
//	a call           500 records                     calls are cut to it
//	                 10 MiB, data and partition keys calls are cut to 5 MiB, or to
//	                                                 Options.BatchBytes
//	a record         1 MiB with its partition key;   Options.RecordBytes; a larger one
//	                 10 MiB if the stream is so set   is refused
//	a partition key  1 to 256 characters             others are refused
//	a shard          1,000 records or 1 MB a second  what it turns away is sent again
package producer
