package spec

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type line struct {
	SKU   string `json:"sku"`
	Count uint16
}

type stamped struct {
	At time.Time `json:"at"`
}

type order struct {
	stamped
	ID       int64              `json:"id"`
	Customer *string            `json:"customerName"`
	Price    float64            `glue:",decimal(10,2)"`
	When     time.Time          `json:"order.placed" glue:"placed"`
	Lines    []line             `json:"lines,omitempty"`
	Rates    map[string]float32 `json:"rates"`
	Text     int                `json:"text,string"`
	Secret   string             `json:"-"`
	Ours     string             `glue:"-"`
	hidden   string
	Month    time.Month
	Flag     bool
	Zone     *netip `json:"zone"`
}

// netip writes itself as text.
type netip struct{ a, b byte }

func (n netip) MarshalText() ([]byte, error) { return []byte{n.a, n.b}, nil }

func TestColumnsAreThoseThatEncodingJSONWrites(t *testing.T) {
	s := Schema{Row: order{hidden: ""}}
	want := []Column{
		{Name: "at", Type: "timestamp"},
		{Name: "id", Type: "bigint"},
		{Name: "customername", Type: "string"},
		{Name: "price", Type: "decimal(10,2)"},
		{Name: "placed", Type: "timestamp", Key: "order.placed"},
		{Name: "lines", Type: "array<struct<sku:string,count:int>>"},
		{Name: "rates", Type: "map<string,float>"},
		{Name: "text", Type: "string"},
		{Name: "month", Type: "bigint"},
		{Name: "flag", Type: "boolean"},
		{Name: "zone", Type: "string"},
	}
	if diff := cmp.Diff(want, s.Of()); diff != "" {
		t.Error(diff)
	}
	if err := s.Validate("p", Parquet{}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(map[string]string{"placed": "order.placed"}, s.Keys()); diff != "" {
		t.Error(diff)
	}
	// The keys really are those of encoding/json.
	text, err := json.Marshal(order{Customer: new(string), Zone: &netip{'a', 'b'}, Lines: []line{{}}})
	if err != nil {
		t.Fatal(err)
	}
	var written map[string]any
	if err := json.Unmarshal(text, &written); err != nil {
		t.Fatal(err)
	}
	delete(written, "Ours")
	keys := s.Keys()
	for _, column := range want {
		found := false
		for key := range written {
			if strings.ToLower(key) == column.Name || key == keys[column.Name] {
				delete(written, key)
				found = true
				break
			}
		}
		if !found {
			t.Errorf("%s is no key of %s", column.Name, text)
		}
	}
	if len(written) > 0 {
		t.Errorf("without a column: %v", written)
	}
}

type loop struct {
	Name string
	Next *loop
}

func TestInvalidS3SettingsAreNamed(t *testing.T) {
	const keyed = "!{partitionKeyFromQuery:a}/"
	query := func(p Partitioning) error {
		return S3Delivery{Prefix: keyed, Partitioning: p}.Validate("p")
	}
	a := map[string]string{"a": ".a"}
	columns := func(columns ...Column) error { return Schema{Columns: columns}.Validate("p", Parquet{}) }
	row := func(row any) error { return Schema{Row: row}.Validate("p", Parquet{}) }
	parquet := func(p Parquet) error { return S3Delivery{Format: p}.Validate("p") }
	orc := func(o ORC) error { return S3Delivery{Format: o}.Validate("p") }
	backup := func(b S3Backup) error { return b.Validate("p") }
	moved := func(t ...Transition) error { return S3Delivery{Transitions: t}.Validate("p") }
	for name, c := range map[string]struct {
		err    error
		fields string
	}{
		"an unknown time zone":                 {S3Delivery{TimeZone: "Mars/Olympus"}.Validate("p"), "TimeZone"},
		"the machine's time zone":              {S3Delivery{TimeZone: "Local"}.Validate("p"), "TimeZone"},
		"a time zone that Firehose can't name": {S3Delivery{TimeZone: "America/Port-au-Prince"}.Validate("p"), "TimeZone"},
		"an extension without its point":       {S3Delivery{FileExtension: "json"}.Validate("p"), "FileExtension"},
		"an extension in capitals":             {S3Delivery{FileExtension: ".JSON"}.Validate("p"), "FileExtension"},
		"a point and nothing":                  {S3Delivery{FileExtension: "."}.Validate("p"), "FileExtension"},
		"an extension without end":             {S3Delivery{FileExtension: "." + strings.Repeat("x", 128)}.Validate("p"), "FileExtension"},
		"a letter that is no part of a time":   {S3Delivery{Prefix: "!{timestamp:yyyy-bb}/"}.Validate("p"), "Prefix"},
		"a quote that isn't closed":            {S3Delivery{Prefix: "!{timestamp:yyyy'T}/"}.Validate("p"), "Prefix"},
		"a key that nothing makes":             {S3Delivery{Prefix: keyed}.Validate("p"), "Prefix"},
		"a key of the other maker":             {query(Partitioning{FromLambda: []string{"a"}}), "Partitioning.FromLambda Prefix"},
		"a key in the error prefix":            {S3Delivery{Prefix: keyed, ErrorPrefix: "e/" + keyed + "!{firehose:error-output-type}/", Partitioning: Partitioning{FromQuery: a}}.Validate("p"), "ErrorPrefix"},
		"a key that isn't used":                {query(Partitioning{FromQuery: map[string]string{"a": ".a", "b": ".b"}}), "Partitioning.FromQuery.b"},
		"a key of a Lambda that isn't used":    {query(Partitioning{FromQuery: a, FromLambda: []string{"b"}}), "Partitioning.FromLambda"},
		"a key twice":                          {S3Delivery{Prefix: "!{partitionKeyFromLambda:b}/", Partitioning: Partitioning{FromLambda: []string{"b", "b"}}}.Validate("p"), "Partitioning.FromLambda"},
		"a key with a hyphen":                  {S3Delivery{Prefix: "!{partitionKeyFromQuery:a-b}/", Partitioning: Partitioning{FromQuery: map[string]string{"a-b": ".a"}}}.Validate("p"), "Partitioning.FromQuery.a-b"},
		"no jq":                                {query(Partitioning{FromQuery: map[string]string{"a": ".a |"}}), "Partitioning.FromQuery.a"},
		"a function that jq lacks":             {query(Partitioning{FromQuery: map[string]string{"a": ".a | nonsense"}}), "Partitioning.FromQuery.a"},
		"jq that makes a second key":           {query(Partitioning{FromQuery: map[string]string{"a": ".a, b: .b"}}), "Partitioning.FromQuery.a"},
		"a query too long":                     {query(Partitioning{FromQuery: map[string]string{"a": ".a" + strings.Repeat(" ", 5_200)}}), "Partitioning.FromQuery"},
		"splitting without keys":               {S3Delivery{Partitioning: Partitioning{Deaggregation: JSONRecords}}.Validate("p"), "Partitioning"},
		"retries without end":                  {query(Partitioning{FromQuery: a, Retry: 7_201 * time.Second}), "Partitioning.Retry"},
		"retries of half a second":             {query(Partitioning{FromQuery: a, Retry: 500 * time.Millisecond}), "Partitioning.Retry"},
		"an unknown way to split":              {query(Partitioning{FromQuery: a, Deaggregation: "XML"}), "Partitioning.Deaggregation"},
		"a delimiter of nothing":               {query(Partitioning{FromQuery: a, Deaggregation: DelimitedRecords}), "Partitioning.Delimiter"},
		"a delimiter of JSON":                  {query(Partitioning{FromQuery: a, Deaggregation: JSONRecords, Delimiter: "\n"}), "Partitioning.Delimiter"},
		"a small buffer of partitions":         {S3Delivery{Prefix: keyed, Partitioning: Partitioning{FromQuery: a}, BufferSize: 63}.Validate("p"), "BufferSize"},
		"no buffer of partitions":              {S3Delivery{Prefix: keyed, Partitioning: Partitioning{FromQuery: a}, BufferInterval: Zero}.Validate("p"), "BufferInterval"},
		"a small buffer of a format":           {S3Delivery{Format: Parquet{}, BufferSize: 5}.Validate("p"), "BufferSize"},
		"a format, compressed again":           {S3Delivery{Format: ORC{}, Compression: GZIP}.Validate("p"), "Compression"},
		"lines of a format":                    {S3Delivery{Format: ORC{}, NewLines: true}.Validate("p"), "NewLines"},
		"another format's compression":         {parquet(Parquet{Compression: "ZLIB"}), "Format.Compression"},
		"a third version":                      {parquet(Parquet{Version: "V3"}), "Format.Version"},
		"small pages":                          {parquet(Parquet{PageSize: 63}), "Format.PageSize"},
		"small blocks":                         {parquet(Parquet{BlockSize: 63}), "Format.BlockSize"},
		"ORC with Parquet's compression":       {orc(ORC{Compression: "GZIP"}), "Format.Compression"},
		"small stripes":                        {orc(ORC{StripeSize: 7}), "Format.StripeSize"},
		"a dense index":                        {orc(ORC{RowIndexStride: 999}), "Format.RowIndexStride"},
		"a probability above one":              {orc(ORC{BloomFilterFalsePositiveProbability: 1.5}), "Format.BloomFilterFalsePositiveProbability"},
		"a negative threshold":                 {orc(ORC{DictionaryKeyThreshold: -0.5}), "Format.DictionaryKeyThreshold"},
		"a bloom filter of no column":          {Schema{Columns: []Column{{Name: "a", Type: "int"}}}.Validate("p", ORC{BloomFilterColumns: []string{"b"}}), "Format.BloomFilterColumns"},
		"no columns":                           {columns(), "Schema"},
		"a column of no type":                  {columns(Column{Name: "a", Type: "text"}), "Schema.Columns.a"},
		"a column in capitals":                 {columns(Column{Name: "A", Type: "int"}), "Schema.Columns.A"},
		"a column twice":                       {columns(Column{Name: "a", Type: "int"}, Column{Name: "a", Type: "int"}), "Schema.Columns.a"},
		"a comment without end":                {columns(Column{Name: "a", Type: "int", Comment: strings.Repeat("x", 256)}), "Schema.Columns.a.Comment"},
		"columns beside a row":                 {Schema{Row: line{}, Columns: []Column{{Name: "a", Type: "int"}}}.Validate("p", Parquet{}), "Schema.Columns"},
		"a row that is no struct":              {row(7), "Schema.Row"},
		"a row that is a time":                 {row(time.Time{}), "Schema.Row"},
		"a row of nothing":                     {row(struct{}{}), "Schema"},
		"a field of anything":                  {row(struct{ A any }{}), "Schema.Row.A"},
		"a field of a channel":                 {row(struct{ A chan int }{}), "Schema.Row.A"},
		"a field without a sign":               {row(struct{ A uint64 }{}), "Schema.Row.A"},
		"a field of bytes":                     {row(struct{ A []byte }{}), "Schema.Row.A"},
		"a field of raw JSON":                  {row(struct{ A json.RawMessage }{}), "Schema.Row.A"},
		"a field that holds its struct":        {row(loop{}), "Schema.Row.Next"},
		"a map by numbers":                     {row(struct{ A map[int]string }{}), "Schema.Row.A"},
		"a tag of no type": {row(struct {
			A any `glue:",money"`
		}{}), "Schema.Row.A"},
		"a key with a point": {row(struct {
			A string `json:"a.b"`
		}{}), "Schema.Row.a.b"},
		"a renamed key inside": {row(struct {
			A struct {
				B int `glue:"c"`
			}
		}{}), "Schema.Row.A"},
		"dots for the Hive SerDe":  {Schema{Row: line{}, Deserializer: Deserializer{DotsToUnderscores: true, TimestampFormats: []string{"millis"}}}.Validate("p", nil), "Schema.Deserializer.DotsToUnderscores"},
		"a key for the Hive SerDe": {Schema{Columns: []Column{{Name: "a", Type: "int", Key: "b"}}, Deserializer: Deserializer{TimestampFormats: []string{"millis"}}}.Validate("p", nil), "Schema.Columns.a"},
		"an empty format of times": {Schema{Row: line{}, Deserializer: Deserializer{TimestampFormats: []string{""}}}.Validate("p", nil), "Schema.Deserializer.TimestampFormats"},
		"a backup's small buffer":  {backup(S3Backup{BufferSize: 129}), "Backup.BufferSize"},
		"a backup without buffer":  {backup(S3Backup{BufferInterval: 59 * time.Second}), "Backup.BufferInterval"},
		"a backup in LZMA":         {backup(S3Backup{Compression: "LZMA"}), "Backup.Compression"},
		"a backup by key":          {backup(S3Backup{Prefix: "b/" + keyed}), "Backup.Prefix"},
		"a backup by error":        {backup(S3Backup{Prefix: "b/!{firehose:error-output-type}/"}), "Backup.Prefix"},
		"an unknown class":         {moved(Transition{To: "SHELF", After: 30 * day}), "Transitions.To"},
		"a class too early":        {moved(Transition{To: StandardIA, After: 29 * day}), "Transitions.After"},
		"a class at half a day":    {moved(Transition{To: Glacier, After: 36 * time.Hour}), "Transitions.After"},
		"classes upwards":          {moved(Transition{To: Glacier, After: 30 * day}, Transition{To: StandardIA, After: 60 * day}), "Transitions"},
		"two at one age":           {moved(Transition{To: StandardIA, After: 30 * day}, Transition{To: Glacier, After: 30 * day}), "Transitions"},
		"moved when deleted":       {S3Delivery{Expiration: 30 * day, Transitions: []Transition{{To: Glacier, After: 30 * day}}}.Validate("p"), "Transitions.After"},
	} {
		var invalid *Invalid
		if !errors.As(c.err, &invalid) {
			t.Errorf("%s: %v", name, c.err)
			continue
		}
		var fields []string
		for _, p := range invalid.Problems {
			fields = append(fields, p.Field)
			if p.Path != "p" || p.Value == "" || p.Want == "" || p.Fix == "" {
				t.Errorf("%s: a message lacks a part: %+v", name, p)
			}
		}
		if got := strings.Join(fields, " "); got != c.fields {
			t.Errorf("%s: refused %q, want %q\n%v", name, got, c.fields, c.err)
		}
	}
}

func TestWhatFirehoseTakesIsntRefused(t *testing.T) {
	for name, err := range map[string]error{
		"everything of a partition": S3Delivery{
			Prefix: "p/!{partitionKeyFromQuery:a}/!{partitionKeyFromLambda:b}/!{timestamp:yyyy-MM-dd'T'HH}/", TimeZone: "Europe/Zurich", FileExtension: ".jsonl.gz",
			BufferSize: 64, BufferInterval: time.Minute, NewLines: true,
			Partitioning: Partitioning{
				FromQuery: map[string]string{"a": `.x.y | if . == "z" then "q" else . end`}, FromLambda: []string{"b"},
				Retry: Zero, Deaggregation: DelimitedRecords, Delimiter: "\n",
			},
			Transitions: []Transition{{StandardIA, 30 * day}, {DeepArchive, 90 * day}}, Expiration: 365 * day,
		}.Validate("p"),
		"Parquet":           S3Delivery{Format: Parquet{}}.Validate("p"),
		"ORC":               S3Delivery{Format: ORC{BloomFilterFalsePositiveProbability: Zero}}.Validate("p"),
		"a prefix of later": S3Delivery{Prefix: "${Token[TOKEN.1]}", Partitioning: Partitioning{FromLambda: []string{"b"}}}.Validate("p"),
		"a backup":          S3Backup{}.Validate("p"),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDefaultsDependOnFormatAndPartitioning(t *testing.T) {
	for name, c := range map[string]struct {
		s    S3Delivery
		want string
	}{
		"as it comes":  {S3Delivery{}, "5 GZIP !{timestamp:yyyy/MM/dd/HH}/"},
		"with a query": {S3Delivery{Prefix: "p", Partitioning: Partitioning{FromQuery: map[string]string{"a": ".a"}}}, "128 GZIP p"},
		"as Parquet":   {S3Delivery{Format: Parquet{}}, "128 UNCOMPRESSED data/!{timestamp:yyyy/MM/dd/HH}/"},
	} {
		d := c.s.WithDefaults()
		size, _ := json.Marshal(d.BufferSize)
		if got := string(size) + " " + string(d.Compression) + " " + d.Prefix; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if d := (S3Delivery{Format: ORC{}}).WithDefaults().Format.(ORC); d.StripeSize != 64 || d.Compression != ORCSnappy {
		t.Errorf("%+v", d)
	}
}

func TestQueryKeepsExpressionsApart(t *testing.T) {
	p := Partitioning{FromQuery: map[string]string{"day": `.at|strftime("%d")`, "customer": ".customer_id", "big": ".n > 5"}}
	if got, want := p.Query(), `{big:(.n > 5),customer:.customer_id,day:.at|strftime("%d")}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestBackupsLieApart(t *testing.T) {
	for prefix, want := range map[string]string{
		"":                       "",
		"data/old/":              "Backup.Prefix",
		"errors/":                "Backup.Prefix",
		"da":                     "Backup.Prefix",
		"!{timestamp:yyyy}/":     "Backup.Prefix Backup.Prefix",
		"${Token[TOKEN.1]}/data": "",
	} {
		c := At("p")
		S3Backup{Prefix: prefix}.Apart(c, S3Delivery{Format: Parquet{}})
		var fields []string
		if invalid, ok := c.Err().(*Invalid); ok {
			for _, p := range invalid.Problems {
				fields = append(fields, p.Field)
			}
		}
		if got := strings.Join(fields, " "); got != want {
			t.Errorf("%q: %q, want %q", prefix, got, want)
		}
	}
}

func TestWhatOnlyS3KnowsIsToldElsewhere(t *testing.T) {
	c := At("p")
	S3Delivery{TimeZone: "UTC", FileExtension: ".x", Format: Parquet{}, NewLines: true, Prefix: "!{partitionKeyFromLambda:a}/"}.DestinationOnly(c)
	var fields []string
	for _, p := range c.Err().(*Invalid).Problems {
		fields = append(fields, p.Field)
	}
	if want := []string{"TimeZone", "FileExtension", "Partitioning", "Format", "NewLines"}; !slices.Equal(fields, want) {
		t.Errorf("%v", fields)
	}
	c = At("p")
	S3Delivery{Prefix: "failed/", BufferSize: 64, Expiration: day}.DestinationOnly(c)
	if c.Err() != nil {
		t.Error(c.Err())
	}
}
