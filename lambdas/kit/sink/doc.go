// Package sink writes what a batch of records comes to: items into a DynamoDB table,
// 25 in a call, and objects into an S3 bucket, one a batch.
//
// What it writes is replaced when it is written again: nothing is there twice because
// a batch was. Which version of an item is newer it doesn't know: a batch that comes
// again, late, puts its items over newer ones. kit/idempotent's Latest doesn't.
//
// AWS's limits, from the API references of BatchWriteItem, TransactWriteItems and
// PutObject, and how they are kept:
//
//	a BatchWriteItem      25 requests   calls are cut to it
//	                      16 MB         can't be reached: an item has at most 400 KB
//	a TransactWriteItems  100 items     more are refused
//	                      4 MB          DynamoDB refuses more
//	an item               400 KB        DynamoDB refuses a larger one, and it alone
//	requests for an item  1 in a call   the last one counts
//	an object's key       1,024 bytes   about 140 and the prefix are used
//	an object             5 GB          an event of Lambda has at most 6 MB
package sink
