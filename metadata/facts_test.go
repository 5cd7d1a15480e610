package metadata_test

import (
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

func kiosk() metadata.Facts {
	return metadata.Facts{
		OS: "linux", Arch: "amd64", Distribution: "debian", Version: "12", Hostname: "till-7.shop",
		Labels: map[string]string{"role": "kiosk"}, Hardware: []string{"pci:8086:1234", "PCI:1"},
	}
}

func TestApplies(t *testing.T) {
	t.Parallel()
	rules, err := metadata.NewRules(kiosk())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		rule string
		ok   bool
		why  string
	}{
		{"", true, ""},
		{`os == "linux" && arch in ["amd64", "arm64"]`, true, ""},
		{`distribution == "debian" && version.atLeast("9.4")`, true, ""},
		{`version.atLeast("12.0.0")`, true, ""},
		{`version.atLeast("12.1")`, false, "is false"},
		{`version.atLeast("sid")`, false, "numbers between dots"},
		{`hostname.matches("^till-[0-9]+[.]")`, true, ""},
		{`labels["role"] == "kiosk"`, true, ""},
		{`labels["site"] == "north"`, false, "site"},
		{`"site" in labels`, false, "is false"},
		{`!("site" in labels) || labels["site"] == "north"`, true, ""},
		{`os == "windows"`, false, "is false"},
		{`memory > 4`, false, "memory"},
		{`os.frobnicate()`, false, "frobnicate"},
		{`os`, false, "type string"},
		{`1 == `, false, "not understood"},
		{strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500), false, "not understood"},
		{`[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, [1,2,3,4,5,6,7,8,9].all(d, a+b+c+d > 0))))`, false, "cost"},
	} {
		ok, why := rules.Applies(&metadata.Update{Applicability: c.rule})
		if ok != c.ok || !strings.Contains(why, c.why) || ok != (why == "") || strings.Contains(why, "\n") {
			t.Errorf("%.80s: %v, %q; want %v, %q", c.rule, ok, why, c.ok, c.why)
		}
	}
}

func TestHardwareIsComparedByteForByte(t *testing.T) {
	t.Parallel()
	rules, err := metadata.NewRules(kiosk())
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{"pci:8086:1234": true, "PCI:1": true, "pci:1": false, "pci:8086:123": false, "*": false} {
		ok, why := rules.Applies(&metadata.Update{Hardware: []string{"other", id}})
		if ok != want || ok != (why == "") {
			t.Errorf("%s: %v %q", id, ok, why)
		}
	}
}

func TestNoFactsAtAll(t *testing.T) {
	t.Parallel()
	rules, err := metadata.NewRules(metadata.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	if ok, why := rules.Applies(&metadata.Update{Applicability: `version.atLeast("1")`}); ok || why == "" {
		t.Errorf("%v %q", ok, why)
	}
}

func TestCheckApplicability(t *testing.T) {
	t.Parallel()
	for rule, ok := range map[string]bool{
		"": true, `os == "linux"`: true, `os = "linux"`: false, `memory > 3`: false, `os`: false, `labels.role == "x"`: true,
		strings.Repeat(" ", metadata.MaxExpression) + "true": false,
	} {
		err := metadata.CheckApplicability(rule)
		if ok != (err == nil) || err != nil && (!fault.Is(err, fault.Usage) || fault.Hint(err) == "") {
			t.Errorf("%.40s: %v", rule, err)
		}
	}
}

func FuzzApplies(f *testing.F) {
	f.Add(`os == "linux" && labels["role"] == "kiosk"`)
	f.Add(`version.atLeast("1.2")`)
	f.Add(`[1].map(x, x/0)`)
	rules, err := metadata.NewRules(kiosk())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, rule string) {
		if ok, why := rules.Applies(&metadata.Update{Applicability: rule}); ok != (why == "") {
			t.Errorf("%v %q", ok, why)
		}
	})
}
