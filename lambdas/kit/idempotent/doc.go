// Package idempotent makes a stream's effects in DynamoDB happen once although its
// records come again: after a failure, in other batches, from a poller that began anew.
//
// There are several ways, each with its price and with what it needs. The prices are
// in write request units (of 1 KB) for a million records that come in batches of a
// thousand, of 50 different keys each.
//
//	                   units      a record   exactly once                    it needs
//	Aggregate          50,000     0.05       sums, counts, sets, last value  order per item
//	Latest             50,000     0.05       the newest version              a version
//	Transaction        102,000    0.1        any writes                      order per shard
//	a conditional put  1,000,000  1          if the item is the effect       an id
//	Ledger.Do          2,000,000  2          nothing: at least once          an id
//	Ledger.Transact    4,000,000  4          any writes, until it expires    an id
//
// [Aggregate] is the one to begin with. The marks that it and [Transaction] keep say
// how far a shard was applied; that works because a shard's records come again in the
// order in which they came first. The order per item is there if the mapping's
// parallelization factor is 1, or if all records of an item have the same partition
// key; records that a KPL aggregated have that of the first one in them, so these want
// a factor of 1. The order per shard is there with a factor of 1 only. A conditional put
// needs no package: attribute_not_exists on the key, when the record's id is the key.
//
// A write that its condition refuses costs as much as one that it doesn't, and a
// transaction costs twice what its writes do by themselves. An item of more than 1 KB
// costs a unit for each KB that is begun.
//
// # What no mark can know
//
//   - A producer that puts a record again, after an answer that got lost, puts it under
//     a new sequence number: two records. Only an id or a version that the producer gave
//     it tells: [Latest] and [Ledger] take one.
//   - A record that Lambda gives up (its attempts or its age are used up) is passed over,
//     and the marks pass it, too. It counts for nothing, or, of a batch that was applied
//     in part, for some of its items. If it is replayed from the failure destination, the
//     marks take it for applied. So let nothing be given up: set poison records aside
//     (batch.Permanent), and retry the others until the stream's retention is over.
//   - Whoever deletes an item deletes its marks.
//   - The Regions of a global table check conditions each by itself: let one of them write.
//   - A function that begins to write elsewhere, or is deployed under another mapping
//     that reads the stream anew, finds the marks of the old one.
//
// # Tables' streams
//
// An event of a table's stream names its shard only if the mapping has a tumbling
// window. Without one an item's changes still come in order, and their sequence numbers
// rise: [Latest] can go by them, and so can an Aggregate whose items each count the
// changes of one item, with that item's key as the Shard. For anything else there is
// [Ledger.Transact] with the event's id.
package idempotent
