package firehose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/klauspost/compress/gzip"
)

// Codes of records that aren't CloudWatch Logs'; AWS's own aren't known, but the
// type of the error is.
const (
	codeDecompression = "Decompression.Failed"
	codeExtraction    = "CloudWatchLogProcessing.Failed"
)

// largestDecompressed is how far a record of 1,000 KiB may grow: CloudWatch Logs
// puts events of 1 MiB together, and text shrinks no further than this.
const largestDecompressed = 64 << 20

func (r *reader) decompression(path string, values map[types.ProcessorParameterName]string) {
	if format := values[types.ProcessorParameterNameCompressionFormat]; format != "GZIP" {
		r.refuse("%s.CompressionFormat: %q isn't GZIP", path, format)
	}
	r.decompress = true
}

func (r *reader) messageExtraction(path string, values map[types.ProcessorParameterName]string) {
	if value := values[types.ProcessorParameterNameDataMessageExtraction]; value != "true" {
		r.refuse("%s.DataMessageExtraction: %q isn't true", path, value)
	}
	r.messages = true
}

// unpack is a record as CloudWatch Logs wrote it: a document, or its messages.
func (c *config) unpack(data []byte) ([]byte, *failure) {
	if !c.decompress {
		return data, nil
	}
	failed := func(code string, err error) *failure {
		return &failure{kind: "decompression-failed", code: code, message: err.Error(), attempts: 1}
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, failed(codeDecompression, err)
	}
	text, err := io.ReadAll(io.LimitReader(z, largestDecompressed+1))
	if err == nil && len(text) > largestDecompressed {
		err = fmt.Errorf("the record has more than %d bytes", largestDecompressed)
	}
	if err != nil {
		return nil, failed(codeDecompression, err)
	}
	if !c.messages {
		return text, nil
	}
	var document struct {
		LogEvents []struct {
			Message *string `json:"message"`
		} `json:"logEvents"`
	}
	err = json.Unmarshal(text, &document)
	if err == nil && document.LogEvents == nil {
		err = fmt.Errorf("the record has no logEvents")
	}
	if err != nil {
		return nil, failed(codeExtraction, err)
	}
	// A line each, so that they stay apart from the next record's too. AWS's
	// documentation shows lines and doesn't say how the last one ends.
	var lines bytes.Buffer
	for _, e := range document.LogEvents {
		if e.Message != nil {
			lines.WriteString(*e.Message)
			lines.WriteByte('\n')
		}
	}
	return lines.Bytes(), nil
}
