package pattern_test

import (
	"fmt"
	"log"

	"github.com/millrace/millrace/local/esm/pattern"
)

func ExampleFilters_MatchKinesis() {
	f, err := pattern.NewFilters(pattern.Kinesis, `{"data": {"speed": [{"numeric": [">", 10]}]}}`)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(f.MatchKinesis([]byte(`{"racer": "racer-0017", "speed": 13.9}`), nil))
	fmt.Println(f.MatchKinesis([]byte(`not JSON`), nil))
	// Output:
	// true
	// false
}
