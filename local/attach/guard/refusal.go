package guard

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/smithy-go/encoding/cbor"
)

// The shapes of errors in XML: of Query services and REST services, of EC2, of S3.
const (
	errorResponse = `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>millrace</RequestId></ErrorResponse>`
	errorEC2      = `<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>millrace</RequestID></Response>`
	errorS3       = `<Error><Code>%s</Code><Message>%s</Message><RequestId>millrace</RequestId></Error>`
)

// answer is an error in the protocol of the service that was called, so that the
// function sees one of that service. Code is as XML services write it: others end
// it with Exception.
func (c Call) answer(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	var content string
	var body []byte
	h := w.Header()
	switch c.protocol {
	case query, restXML, ec2Query, s3XML:
		var escaped strings.Builder
		_ = xml.EscapeText(&escaped, []byte(message)) // a builder takes all
		format := map[protocol]string{query: errorResponse, restXML: errorResponse, ec2Query: errorEC2, s3XML: errorS3}[c.protocol]
		content, body = "text/xml", fmt.Appendf(nil, format, code, escaped.String())
	case cborRPC:
		h.Set("Smithy-Protocol", "rpc-v2-cbor")
		content, body = "application/cbor", cbor.Encode(cbor.Map{"__type": cbor.String(code + "Exception"), "message": cbor.String(message)})
	case jsonRPC, restJSON:
		h.Set("X-Amzn-ErrorType", code+"Exception")
		content = "application/json"
		if c.protocol == jsonRPC {
			content = r.Header.Get("Content-Type")
		}
		body, _ = json.Marshal(map[string]string{"__type": code + "Exception", "message": message}) // plain text always marshals
	}
	h.Set("Content-Type", content)
	w.WriteHeader(status)
	_, _ = w.Write(body) // who has gone needs no answer
}
