package firehose

// WithLimit lowers the limit of the answer.
func (o Options) WithLimit(bytes int) Options {
	o.limit = bytes
	return o
}
