package boards

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// What Grafana's format is made of. Only what the boards need is here; the rest has Grafana's defaults.
const (
	schemaVersion = 39
	columns       = 24
	datasource    = "datasource" // name of the variable
)

type dashboard struct {
	UID           string     `json:"uid"`
	Title         string     `json:"title"`
	Description   string     `json:"description"`
	Tags          []string   `json:"tags"`
	SchemaVersion int        `json:"schemaVersion"`
	Version       int        `json:"version"`
	Editable      bool       `json:"editable"`
	GraphTooltip  int        `json:"graphTooltip"`
	Refresh       string     `json:"refresh"`
	Time          timeRange  `json:"time"`
	Timezone      string     `json:"timezone"`
	Templating    templating `json:"templating"`
	Panels        []panel    `json:"panels"`
}

type timeRange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type templating struct {
	List []variable `json:"list"`
}

type source struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type variable struct {
	Name       string  `json:"name"`
	Label      string  `json:"label"`
	Type       string  `json:"type"`
	Datasource *source `json:"datasource,omitempty"`
	Definition string  `json:"definition,omitempty"`
	Query      any     `json:"query"`
	Refresh    int     `json:"refresh"`
	Sort       int     `json:"sort,omitempty"`
	Multi      bool    `json:"multi"`
	IncludeAll bool    `json:"includeAll"`
	AllValue   string  `json:"allValue,omitempty"`
	Current    any     `json:"current"`
}

type variableQuery struct {
	Query string `json:"query"`
	RefID string `json:"refId"`
}

type choice struct {
	Text  string `json:"text"`
	Value string `json:"value"`
}

type panel struct {
	ID          int          `json:"id"`
	Type        string       `json:"type"`
	Title       string       `json:"title"`
	Description string       `json:"description,omitempty"`
	GridPos     gridPos      `json:"gridPos"`
	Collapsed   *bool        `json:"collapsed,omitempty"`
	Panels      []panel      `json:"panels,omitempty"`
	Datasource  *source      `json:"datasource,omitempty"`
	Targets     []target     `json:"targets,omitempty"`
	FieldConfig *fieldConfig `json:"fieldConfig,omitempty"`
	Options     any          `json:"options,omitempty"`
}

type gridPos struct {
	H int `json:"h"`
	W int `json:"w"`
	X int `json:"x"`
	Y int `json:"y"`
}

type target struct {
	RefID        string `json:"refId"`
	Datasource   source `json:"datasource"`
	EditorMode   string `json:"editorMode"`
	Expr         string `json:"expr"`
	LegendFormat string `json:"legendFormat"`
	Instant      bool   `json:"instant"`
	Range        bool   `json:"range"`
}

type fieldConfig struct {
	Defaults  defaults `json:"defaults"`
	Overrides []any    `json:"overrides"`
}

type defaults struct {
	Unit   string         `json:"unit"`
	Min    *int           `json:"min,omitempty"`
	Max    *int           `json:"max,omitempty"`
	Custom map[string]any `json:"custom,omitempty"`
}

type object = map[string]any

// JSON is the board as Grafana imports it.
func (b Board) JSON() ([]byte, error) {
	d := dashboard{
		UID: b.UID, Title: b.Title, Description: b.Description, Tags: []string{"dunlin"},
		SchemaVersion: schemaVersion, Version: 1, GraphTooltip: 1, Refresh: "1m",
		Time: timeRange{"now-24h", "now"}, Timezone: "browser",
		Templating: templating{b.variables()}, Panels: b.panels(),
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(d); err != nil {
		return nil, fmt.Errorf("encode %s: %w", b.File, err)
	}
	return out.Bytes(), nil
}

func prometheus() source { return source{"prometheus", "${" + datasource + "}"} }

func (b Board) variables() []variable {
	out := []variable{{Name: datasource, Label: "Data source", Type: "datasource", Query: "prometheus", Refresh: 1, Current: object{}}}
	from := prometheus()
	for _, v := range b.Variables {
		def := "label_values(" + v.Metric + ", " + v.Name + ")"
		x := variable{
			Name: v.Name, Label: v.Label, Type: "query", Datasource: &from, Definition: def,
			Query: variableQuery{def, "PrometheusVariableQueryEditor-VariableQuery"}, Refresh: 2, Sort: 1, Current: object{},
		}
		if v.All {
			x.Multi, x.IncludeAll, x.AllValue, x.Current = true, true, ".*", choice{"All", "$__all"}
		}
		out = append(out, x)
	}
	return out
}

// panels lays the rows out, one below the other.
func (b Board) panels() (out []panel) {
	y, id := 0, 0
	for _, r := range b.Rows {
		id++
		open := false
		out = append(out, panel{ID: id, Type: "row", Title: r.Title, GridPos: gridPos{1, columns, 0, y}, Collapsed: &open})
		y++
		x, high := 0, 0
		for _, p := range r.Panels {
			id++
			if x+p.width() > columns {
				x, y, high = 0, y+high, 0
			}
			out = append(out, p.panel(id, x, y))
			x, high = x+p.width(), max(high, p.height())
		}
		y += high
	}
	return out
}

func (p Panel) panel(id, x, y int) panel {
	from := prometheus()
	out := panel{
		ID: id, Type: string(p.Kind), Title: p.Title, Description: p.Description, Datasource: &from,
		GridPos: gridPos{p.height(), p.width(), x, y}, FieldConfig: &fieldConfig{defaults{Unit: p.Unit}, []any{}},
	}
	instant := p.Kind == Stat || p.Kind == Bars
	for i, q := range p.Queries {
		out.Targets = append(out.Targets, target{
			RefID: string(rune('A' + i)), Datasource: from, EditorMode: "code", Expr: q.Expr, LegendFormat: q.Legend,
			Instant: instant, Range: !instant,
		})
	}
	if p.Unit == Share {
		one := 1
		out.FieldConfig.Defaults.Max = &one
	}
	p.look(&out)
	return out
}

// look sets what belongs to the kind.
func (p Panel) look(out *panel) {
	newest := object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}
	switch p.Kind {
	case Stat:
		out.Options = object{"colorMode": "value", "graphMode": "none", "justifyMode": "auto", "reduceOptions": newest, "textMode": "auto"}
	case Bars:
		zero := 0
		out.FieldConfig.Defaults.Min = &zero
		out.Options = object{"displayMode": "basic", "orientation": "horizontal", "reduceOptions": newest, "showUnfilled": true}
	default:
		custom := object{"drawStyle": "line", "lineWidth": 1, "fillOpacity": 0, "showPoints": "never"}
		if p.Kind == Areas {
			out.Type = string(Lines)
			custom["fillOpacity"] = 40
			custom["stacking"] = object{"group": "A", "mode": "normal"}
		}
		out.FieldConfig.Defaults.Custom = custom
		out.Options = object{
			"legend":  object{"calcs": []string{}, "displayMode": "list", "placement": "bottom", "showLegend": true},
			"tooltip": object{"mode": "multi", "sort": "desc"},
		}
	}
}
