package metadata

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// Limits of an applicability rule. Costs are CEL's: about one for each step.
const (
	maxRuleCost  = 10_000
	maxRuleDepth = 32
)

// Facts is what a device says about itself. A rule sees the fields under the names in parentheses; Labels are a map.
type Facts struct {
	OS           string            `json:"os"`                 // as Go names it: linux (os)
	Arch         string            `json:"arch"`               // as Go names it: amd64, arm64 (arch)
	Distribution string            `json:"distribution"`       // ID of os-release: debian (distribution)
	Version      string            `json:"version"`            // VERSION_ID of os-release: 12 (version)
	Hostname     string            `json:"hostname"`           // (hostname)
	Labels       map[string]string `json:"labels,omitempty"`   // what the administrator gave the device (labels)
	Hardware     []string          `json:"hardware,omitempty"` // ids, compared byte for byte; not seen by rules
}

// Rules decides which updates apply to one device. It may be shared.
type Rules struct {
	facts Facts
	env   *cel.Env
	vars  map[string]any
}

// NewRules prepares the evaluation for one device.
func NewRules(f Facts) (*Rules, error) {
	env, err := newEnv()
	if err != nil {
		return nil, err
	}
	labels := f.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	return &Rules{f, env, map[string]any{
		"os": f.OS, "arch": f.Arch, "distribution": f.Distribution, "version": f.Version, "hostname": f.Hostname, "labels": labels,
	}}, nil
}

// Applies reports whether an update is for the device, and if not, why. A rule that cannot be evaluated here, because it
// asks for a fact or a function that this agent does not know, or for a label that is not set, makes the update
// inapplicable; it is never an error.
func (r *Rules) Applies(u *Update) (ok bool, why string) {
	if len(u.Hardware) > 0 && !slices.ContainsFunc(u.Hardware, func(id string) bool { return slices.Contains(r.facts.Hardware, id) }) {
		return false, "it is for other hardware"
	}
	if u.Applicability == "" {
		return true, ""
	}
	yes, err := r.eval(u.Applicability)
	switch {
	case err != nil:
		return false, err.Error()
	case !yes:
		return false, fmt.Sprintf("its rule is false here: %s", u.Applicability)
	}
	return true, ""
}

func (r *Rules) eval(rule string) (yes bool, err error) {
	defer func() { // the rule is signed, but a library that panics on it must not take the agent down
		if p := recover(); p != nil {
			yes, err = false, fmt.Errorf("its rule cannot be evaluated here: %v", p)
		}
	}()
	ast, err := compile(r.env, rule)
	if err != nil {
		return false, fmt.Errorf("its rule is not understood here: %w", err)
	}
	program, err := r.env.Program(ast, cel.CostLimit(maxRuleCost))
	if err != nil {
		return false, fmt.Errorf("its rule cannot be evaluated here: %w", err)
	}
	out, _, err := program.Eval(r.vars)
	if err != nil {
		return false, fmt.Errorf("its rule cannot be evaluated here: %w", err)
	}
	return out == types.True, nil
}

// CheckApplicability refuses a rule that this version could not evaluate: a publisher learns of a typing error at once,
// and not from devices that stay without the update.
func CheckApplicability(rule string) error {
	if rule == "" {
		return nil
	}
	env, err := newEnv()
	if err != nil {
		return err
	}
	if _, err := compile(env, rule); err != nil {
		return fault.WithHint(fault.New(fault.Usage, "check applicability: %w", err),
			`write a rule over os, arch, distribution, version, hostname and labels, such as: os == "linux" && version.atLeast("12")`)
	}
	return nil
}

func compile(env *cel.Env, rule string) (*cel.Ast, error) {
	if len(rule) > MaxExpression {
		return nil, fmt.Errorf("it has %d bytes, at most %d", len(rule), MaxExpression)
	}
	ast, issues := env.Compile(rule)
	if err := issues.Err(); err != nil {
		return nil, firstLine(err)
	}
	if ast.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("it is no yes or no, but of type %s", ast.OutputType())
	}
	return ast, nil
}

// firstLine keeps what is wrong and where, and leaves out the drawing below it.
func firstLine(err error) error {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("%s", strings.TrimPrefix(line, "ERROR: <input>:"))
}

func newEnv() (*cel.Env, error) {
	env, err := cel.NewEnv(
		cel.Variable("os", cel.StringType),
		cel.Variable("arch", cel.StringType),
		cel.Variable("distribution", cel.StringType),
		cel.Variable("version", cel.StringType),
		cel.Variable("hostname", cel.StringType),
		cel.Variable("labels", cel.MapType(cel.StringType, cel.StringType)),
		cel.Function("atLeast", cel.MemberOverload("string_at_least_string",
			[]*cel.Type{cel.StringType, cel.StringType}, cel.BoolType, cel.BinaryBinding(atLeast))),
		cel.ParserRecursionLimit(maxRuleDepth),
		cel.ParserExpressionSizeLimit(MaxExpression),
	)
	if err != nil {
		return nil, fmt.Errorf("prepare rules: %w", err)
	}
	return env, nil
}

// atLeast compares versions of distributions: numbers between dots, a missing one counts as 0. As texts "9" is more than
// "12".
func atLeast(have, want ref.Val) ref.Val {
	a, okA := numbers(have)
	b, okB := numbers(want)
	if !okA || !okB {
		return types.NewErr("%v and %v are not both numbers between dots", have.Value(), want.Value())
	}
	for len(a) < len(b) {
		a = append(a, 0)
	}
	for len(b) < len(a) {
		b = append(b, 0)
	}
	return types.Bool(slices.Compare(a, b) >= 0)
}

func numbers(v ref.Val) ([]uint64, bool) {
	text, ok := v.Value().(string)
	if !ok {
		return nil, false
	}
	var out []uint64
	for part := range strings.SplitSeq(text, ".") {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return nil, false
		}
		out = append(out, n)
	}
	return out, true
}
