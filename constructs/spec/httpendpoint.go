package spec

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// ContentEncoding of the requests to an HTTP endpoint.
type ContentEncoding string

// The encodings that Firehose knows.
const (
	EncodingGZIP ContentEncoding = "GZIP"
	EncodingNone ContentEncoding = "NONE"
)

// HTTPEndpointDelivery are the settings of a Firehose delivery to an HTTP endpoint
// that takes requests in Firehose's own form: records in base64, up to 10,000 in a
// request, and an answer 200 with the request's id within 3 minutes.
type HTTPEndpointDelivery struct {
	// URL that requests are sent to as it stands, https:// and port 443, at most
	// 1,000 characters.
	URL string
	// Name of the endpoint in the console, 1 to 256 characters; by default the
	// URL's host.
	Name string
	// ContentEncoding of requests: EncodingGZIP (default) or EncodingNone.
	ContentEncoding ContentEncoding
	// CommonAttributes are sent along with every request, in the header
	// X-Amz-Firehose-Common-Attributes: at most 50, names of 1 to 256 characters,
	// values of up to 1,024. They are no place for secrets.
	CommonAttributes map[string]string
	// BufferSize in MiB at which records are sent, 1 to 64; 5 by default.
	BufferSize int
	// BufferInterval after which records are sent, 0 s to 900 s; 300 s by default,
	// Zero for none.
	BufferInterval time.Duration
	// Retry is how long a request that failed is made again, 0 s to 7,200 s from the
	// first failure on; 300 s by default, Zero for never. After that its records are
	// written to S3.
	Retry time.Duration
	// BackupAll writes every record to S3 as it came, beside those that failed; by
	// default only those.
	BackupAll bool
}

// WithDefaults returns h with its defaults written out.
func (h HTTPEndpointDelivery) WithDefaults() HTTPEndpointDelivery {
	if u, err := url.Parse(h.URL); err == nil && h.Name == "" {
		h.Name = u.Hostname()
	}
	h.Name = orText(h.Name, "HTTP endpoint") // of a URL that isn't known yet
	h.ContentEncoding = orText(h.ContentEncoding, EncodingGZIP)
	h.BufferSize = or(h.BufferSize, 5)
	h.BufferInterval = or(h.BufferInterval, 300*time.Second)
	h.Retry = or(h.Retry, 300*time.Second)
	return h
}

// Validate returns every problem of h as an [*Invalid], with path before each.
func (h HTTPEndpointDelivery) Validate(path string) error {
	c, d := At(path), h.WithDefaults()
	address(c, "URL", d.URL, HTTPEndpointURL, "https://example.com/firehose")
	if u, err := url.Parse(d.URL); err == nil && !IsToken(d.URL) && u.User == nil && u.Port() != "" && u.Port() != "443" {
		c.Add("URL", d.URL, "Firehose delivers to port 443 only", "put a listener on port 443, and leave the port out")
	}
	if !IsToken(d.Name) && (strings.TrimSpace(d.Name) == "" || utf8.RuneCountInString(d.Name) > HTTPEndpointName.Max) {
		c.Add("Name", d.Name, HTTPEndpointName.String(), "shorten it, or leave it out for the URL's host")
	}
	oneLine(c, "Name", d.Name)
	oneOf(c, "ContentEncoding", d.ContentEncoding, EncodingGZIP, EncodingNone)
	if n := len(d.CommonAttributes); n > HTTPEndpointAttributes.Max {
		c.Add("CommonAttributes", n, HTTPEndpointAttributes.String(), "leave some out")
	}
	for _, name := range slices.Sorted(maps.Keys(d.CommonAttributes)) {
		if IsToken(name) || strings.TrimSpace(name) == "" || utf8.RuneCountInString(name) > HTTPEndpointName.Max {
			c.Add("CommonAttributes", name, "a name is known and has 1 to 256 characters", "rename it")
		}
		oneLine(c, "CommonAttributes", name)
		oneLine(c, fmt.Sprintf("CommonAttributes[%q]", name), d.CommonAttributes[name])
		if value := d.CommonAttributes[name]; !IsToken(value) && utf8.RuneCountInString(value) > HTTPEndpointAttributeValue.Max {
			c.Add(fmt.Sprintf("CommonAttributes[%q]", name), fmt.Sprintf("%d characters", utf8.RuneCountInString(value)),
				HTTPEndpointAttributeValue.String(), "shorten it")
		}
	}
	buffered(c, d.BufferSize, HTTPEndpointBufferSize, d.BufferInterval, HTTPEndpointBufferInterval, d.Retry)
	return c.Err()
}
