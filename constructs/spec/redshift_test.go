package spec_test

import (
	"encoding/json"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/millrace/millrace/constructs/spec"
)

type common struct {
	ID uint64 `json:"id" redshift:",,sortkey"`
}

type ride struct {
	*common
	Race    string            `redshift:"race,varchar(64),notnull,distkey"`
	At      time.Time         `json:"at" redshift:",,sortkey"`
	Speed   *float32          `json:"speed,omitempty"`
	Laps    int16             `json:"laps"`
	Total   float64           `json:"total" redshift:", DECIMAL(12, 2)"`
	Tags    map[string]string `json:"tags"`
	Raw     json.RawMessage   `json:"details"`
	Skipped string            `json:"skipped" redshift:"-"`
	Secret  string            `json:"-"`
	hidden  int
}

func TestColumnsFollowFromAStruct(t *testing.T) {
	_ = ride{hidden: 0}
	got, err := spec.RedshiftColumns(&ride{})
	want := []spec.RedshiftColumn{
		{Name: "id", Key: "id", Type: "decimal(20,0)", SortKey: true},
		{Name: "race", Key: "Race", Type: "varchar(64)", NotNull: true, DistributionKey: true},
		{Name: "at", Key: "at", Type: "timestamptz", SortKey: true},
		{Name: "speed", Key: "speed", Type: "real"},
		{Name: "laps", Key: "laps", Type: "smallint"},
		{Name: "total", Key: "total", Type: "decimal(12, 2)"},
		{Name: "tags", Key: "tags", Type: "super"},
		{Name: "details", Key: "details", Type: "super"},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(spec.RedshiftColumn{})); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	r := spec.RedshiftDelivery{Table: "rides", Row: ride{}}
	if want := "CREATE TABLE IF NOT EXISTS public.rides (\n  id decimal(20,0),\n  race varchar(64) NOT NULL,\n  at timestamptz,\n  speed real,\n" +
		"  laps smallint,\n  total decimal(12, 2),\n  tags super,\n  details super\n) DISTKEY (race) SORTKEY (id, at)"; r.CreateTable() != want {
		t.Errorf("%s", r.CreateTable())
	}
}

// JSON 'auto' finds a value by the column's name alone, and in lower case.
func TestFieldsWithAnotherNameInJSONAreFoundByPath(t *testing.T) {
	r := spec.RedshiftDelivery{Table: "rides", Row: ride{}}
	if err := r.Validate("", spec.S3Delivery{}, nil); err != nil {
		t.Fatal(err)
	}
	want := `{"jsonpaths":["$['id']","$['Race']","$['at']","$['speed']","$['laps']","$['total']","$['tags']","$['details']"]}`
	if got := string(r.JSONPathsFile()); got != want {
		t.Errorf("got %s", got)
	}
	if got := r.CopyOptions("", "s3://b/k"); got != "JSON 's3://b/k' GZIP TIMEFORMAT 'auto'" {
		t.Errorf("COPY's options: %s", got)
	}
	r.Columns = []string{"speed", "race"}
	if got := string(r.JSONPathsFile()); got != `{"jsonpaths":["$['speed']","$['Race']"]}` {
		t.Errorf("of some columns: %s", got)
	}
	r.Columns = []string{"speed", "laps"}
	if got := r.WithDefaults(); got.Format != "JSON 'auto'" || got.JSONPaths != nil {
		t.Errorf("without such a field: %+v", got)
	}
}

func TestCopyOptions(t *testing.T) {
	for want, c := range map[string]struct {
		r           spec.RedshiftDelivery
		compression spec.Compression
	}{
		"JSON 'auto' GZIP TIMEFORMAT 'auto'":           {spec.RedshiftDelivery{}, ""},
		"JSON 'auto' TIMEFORMAT 'auto'":                {spec.RedshiftDelivery{}, spec.Uncompressed},
		"JSON 'auto' timeformat 'epochmillisecs' GZIP": {spec.RedshiftDelivery{Options: []string{"timeformat 'epochmillisecs'"}}, spec.GZIP},
		"CSV IGNOREHEADER 1 GZIP":                      {spec.RedshiftDelivery{Format: "CSV", Options: []string{"IGNOREHEADER 1"}}, spec.GZIP},
		"JSON 's3://b/p.json' GZIP TIMEFORMAT 'auto'":  {spec.RedshiftDelivery{Format: "JSON 's3://b/p.json'"}, spec.GZIP},
	} {
		c.r.Table = "t"
		if err := c.r.Validate("", spec.S3Delivery{Compression: c.compression}, nil); err != nil {
			t.Errorf("%s: %v", want, err)
		}
		if got := c.r.CopyOptions(c.compression, ""); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestColumnTypesThatRedshiftHas(t *testing.T) {
	got, err := spec.RedshiftColumns(struct {
		A int     `redshift:",int"`
		B float64 `redshift:",decimal"`
		C float64 `redshift:",numeric(38)"`
		D string  `redshift:",varchar"`
		E string  `redshift:",VARCHAR(MAX)"`
		F string  `redshift:",character varying(65535)"`
		G string  `redshift:",char(1)"`
		H string  `redshift:",timestamp without time zone"`
		I string  `redshift:",timetz"`
		J []byte  `redshift:",varbyte(1000)"`
		K any
	}{})
	for i, want := range []string{
		"integer", "numeric(18,0)", "numeric(38,0)", "character varying(256)", "character varying(65535)", "character varying(65535)", "character(1)",
		"timestamp without time zone", "time with time zone", "", "",
	} {
		if i < len(got) && got[i].CatalogType() != want {
			t.Errorf("%s is %q in the catalog, want %q", got[i].Type, got[i].CatalogType(), want)
		}
	}
	if err != nil || len(got) != 11 || got[4].Type != "varchar(max)" || got[10].Type != "super" {
		t.Errorf("%v: %+v", err, got)
	}
}

func TestMigrationsAreReadInTheOrderOfTheirNames(t *testing.T) {
	got, err := spec.Migrations(fstest.MapFS{
		"b/0001_a.sql": {Data: []byte("select 1;")}, "a/0003_c.sql": {Data: []byte("select 3")}, "0002_b.sql": {Data: []byte("select 2; -- two\nselect ';'")},
		"notes.txt": {Data: []byte("'")},
	})
	want := []spec.Migration{
		{Name: "0001_a.sql", Statements: []string{"select 1"}}, {Name: "0002_b.sql", Statements: []string{"select 2", "select ';'"}}, {Name: "0003_c.sql", Statements: []string{"select 3"}},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
