package spec

import (
	"net/url"
	"strings"
	"time"
)

// HECEndpointType is what Splunk's HTTP Event Collector is sent.
type HECEndpointType string

const (
	// Raw is text that Splunk splits into events itself. Firehose joins records as
	// they are: they bring their own new lines.
	Raw HECEndpointType = "Raw"
	// Event is JSON in Splunk's own form, {"event": …}, for each record.
	Event HECEndpointType = "Event"
)

// SplunkDelivery are the settings of a Firehose delivery to Splunk's HTTP Event
// Collector (HEC). Its token must have indexer acknowledgement enabled.
type SplunkDelivery struct {
	// Endpoint of the collector, such as
	// "https://http-inputs-firehose-shop.splunkcloud.com:443"; HTTPS, with a
	// certificate of a public authority, and at most 2,048 characters. A load
	// balancer before several collectors has to have sticky sessions.
	Endpoint string
	// EndpointType: Raw (default) or Event.
	EndpointType HECEndpointType
	// AcknowledgmentTimeout is how long Firehose waits until Splunk says that it has
	// indexed what it took, 180 s to 600 s; 600 s by default. After that it sends
	// the records again, and Splunk may have them twice.
	AcknowledgmentTimeout time.Duration
	// BufferSize in MiB at which records are sent, 1 to 5; 5 by default.
	BufferSize int
	// BufferInterval after which records are sent, 0 s to 60 s; 60 s by default,
	// Zero for none.
	BufferInterval time.Duration
	// Retry is how long records are sent again that Splunk refused or didn't
	// acknowledge, 0 s to 7,200 s from the first failure on; 300 s by default, Zero
	// for never. After that they are written to S3.
	Retry time.Duration
	// BackupAll writes every record to S3 as it came, beside those that failed; by
	// default only those. AWS can switch it on later, but not off again.
	BackupAll bool
}

// WithDefaults returns s with its defaults written out.
func (s SplunkDelivery) WithDefaults() SplunkDelivery {
	s.EndpointType = orText(s.EndpointType, Raw)
	s.AcknowledgmentTimeout = or(s.AcknowledgmentTimeout, 600*time.Second)
	s.BufferSize = or(s.BufferSize, 5)
	s.BufferInterval = or(s.BufferInterval, 60*time.Second)
	s.Retry = or(s.Retry, 300*time.Second)
	return s
}

// Validate returns every problem of s as an [*Invalid], with path before each.
func (s SplunkDelivery) Validate(path string) error {
	c, d := At(path), s.WithDefaults()
	address(c, "Endpoint", d.Endpoint, SplunkEndpoint, "https://http-inputs-firehose-shop.splunkcloud.com:443")
	if strings.Contains(d.Endpoint, "/services/collector") || strings.Contains(d.Endpoint, "?") {
		c.Add("Endpoint", d.Endpoint, "Firehose appends the collector's path itself", "end it with the port")
	}
	oneOf(c, "EndpointType", d.EndpointType, Raw, Event)
	within(c, "AcknowledgmentTimeout", d.AcknowledgmentTimeout, SplunkAcknowledgment)
	wholeSeconds(c, "AcknowledgmentTimeout", d.AcknowledgmentTimeout)
	buffered(c, d.BufferSize, SplunkBufferSize, d.BufferInterval, SplunkBufferInterval, d.Retry)
	return c.Err()
}

// address notes a problem when Firehose couldn't deliver to a URL.
func address(c *Check, field, value string, length Limit[int], example string) {
	fix := "give it like " + example
	if value == "" {
		c.Add(field, nil, "there is nowhere to deliver to", fix)
		return
	}
	if IsToken(value) {
		return
	}
	u, err := url.Parse(value)
	if err != nil {
		c.Add(field, "an address that can't be read", "Firehose delivers to a URL", fix)
		return
	}
	https := strings.HasPrefix(value, "https://") // Firehose takes no capitals
	if u.User != nil {
		value = u.Redacted() // a password isn't repeated
	}
	switch {
	case !https, u.Hostname() == "":
		c.Add(field, value, "Firehose delivers to an address that begins with https:// and names a host", fix)
	case u.User != nil:
		c.Add(field, value, "credentials stay in Secrets Manager, as a template is no secret", "leave them out of the address")
	case u.Fragment != "":
		c.Add(field, value, "what is behind # is sent to nobody", "leave it out")
	case len(value) > length.Max:
		c.Add(field, value, length.String(), "shorten it")
	}
}
