package guard

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/smithy-go/encoding/cbor"
)

// requestID is what an error's own is where AWS has never seen the request.
const requestID = "guard"

// The shapes of errors in XML: of Query services and REST services, of EC2, of S3.
const (
	errorResponse = `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>` + requestID + `</RequestId></ErrorResponse>`
	errorEC2      = `<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>` + requestID + `</RequestID></Response>`
	errorS3       = `<Error><Code>%s</Code><Message>%s</Message><RequestId>` + requestID + `</RequestId></Error>`
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
		h.Set("X-Amzn-RequestId", requestID)
		content = "application/json"
		if c.protocol == jsonRPC {
			content = r.Header.Get("Content-Type")
		}
		body, _ = json.Marshal(map[string]string{"__type": code + "Exception", "message": message}) // plain text always marshals
		h.Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10))              // DynamoDB's clients look for it
	}
	h.Set("Content-Type", content)
	w.WriteHeader(status)
	_, _ = w.Write(body) // who has gone needs no answer
}
