package provision

import "encoding/json"

// The types of this file are the parts of an export document as SOAR writes them
// (contract: ConfigurationExportDTO). Keys of theirs that this product has no use for
// have the value that SOAR gives them by itself.

// Document is an export document.
type Document struct {
	ActionOrder         list[none]         `json:"action_order"`
	Rules               list[rule]         `json:"actions"`
	Apps                list[none]         `json:"apps"`
	AutomaticTasks      list[none]         `json:"automatic_tasks"`
	ExportDate          int64              `json:"export_date"`
	FormatVersion       int                `json:"export_format_version"`
	Fields              list[field]        `json:"fields"`
	Functions           list[function]     `json:"functions"`
	Geos                *none              `json:"geos"`
	Groups              *none              `json:"groups"`
	ID                  int                `json:"id"`
	InboundDestinations list[none]         `json:"inbound_destinations"`
	InboundMailboxes    *none              `json:"inbound_mailboxes"`
	ArtifactTypes       list[none]         `json:"incident_artifact_types"`
	IncidentTypes       list[incidentType] `json:"incident_types"`
	Industries          *none              `json:"industries"`
	Layouts             list[none]         `json:"layouts"`
	Locale              *none              `json:"locale"`
	Destinations        list[destination]  `json:"message_destinations"`
	Notifications       *none              `json:"notifications"`
	Overrides           list[none]         `json:"overrides"`
	Phases              list[none]         `json:"phases"`
	Regulators          *none              `json:"regulators"`
	Roles               list[none]         `json:"roles"`
	Scripts             list[none]         `json:"scripts"`
	ServerVersion       serverVersion      `json:"server_version"`
	Tags                list[none]         `json:"tags"`
	TaskOrder           list[none]         `json:"task_order"`
	Timeframes          *none              `json:"timeframes"`
	Types               list[none]         `json:"types"`
	Workflows           list[none]         `json:"workflows"`
	Workspaces          list[none]         `json:"workspaces"`

	// Of all installed modules, also those that the document was not made of: their
	// names, the routing names of their rules and the API names of their functions.
	known, currentRules, currentFunctions []string
}

// none is something that documents of ours never hold.
type none struct{}

// list is [] in JSON when it is empty, where SOAR wants no null.
type list[T any] []T

// MarshalJSON never gives null.
func (l list[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

type rule struct {
	Automations  list[none]      `json:"automations"`
	Conditions   list[condition] `json:"conditions"`
	Enabled      bool            `json:"enabled"`
	ExportKey    string          `json:"export_key"`
	ID           int             `json:"id"`
	Logic        string          `json:"logic_type"`
	Destinations list[string]    `json:"message_destinations"`
	Name         string          `json:"name"`
	Object       string          `json:"object_type"`
	Tags         list[none]      `json:"tags"`
	Timeout      int             `json:"timeout_seconds"`
	Type         int             `json:"type"` // 0 automatic, 1 menu item
	UUID         string          `json:"uuid"`
	ViewItems    list[viewItem]  `json:"view_items"`
	Workflows    list[none]      `json:"workflows"`

	module string
}

type condition struct {
	EvaluationID *none   `json:"evaluation_id"`
	Field        *string `json:"field_name"`
	Method       string  `json:"method"`
	Type         *none   `json:"type"`
	Value        *none   `json:"value"`
}

type viewItem struct {
	Content        string `json:"content"` // uuid of a field of the document
	Element        string `json:"element"`
	FieldType      string `json:"field_type"`
	ShowIf         *none  `json:"show_if"`
	ShowLinkHeader bool   `json:"show_link_header"`
	StepLabel      *none  `json:"step_label"`
}

type field struct {
	AllowDefaultValue     bool            `json:"allow_default_value"`
	BlankOption           bool            `json:"blank_option"`
	Calculated            bool            `json:"calculated"`
	Changeable            bool            `json:"changeable"`
	Chosen                bool            `json:"chosen"`
	DefaultChosenByServer bool            `json:"default_chosen_by_server"`
	Deprecated            bool            `json:"deprecated"`
	ExportKey             string          `json:"export_key"`
	HideNotification      bool            `json:"hide_notification"`
	ID                    int             `json:"id"`
	InputType             string          `json:"input_type"`
	Internal              bool            `json:"internal"`
	IsTracked             bool            `json:"is_tracked"`
	Name                  string          `json:"name"`
	OperationPerms        map[string]none `json:"operation_perms"`
	Operations            list[none]      `json:"operations"`
	Placeholder           string          `json:"placeholder"`
	Prefix                *string         `json:"prefix"`
	ReadOnly              bool            `json:"read_only"`
	Required              string          `json:"required,omitempty"`
	RichText              bool            `json:"rich_text"`
	Tags                  list[none]      `json:"tags"`
	Templates             list[none]      `json:"templates"`
	Text                  string          `json:"text"`
	Tooltip               string          `json:"tooltip"`
	TypeID                int             `json:"type_id"`
	UUID                  string          `json:"uuid"`
	Values                list[value]     `json:"values"`

	module string
}

type value struct {
	Value      int    `json:"value"`
	Label      string `json:"label"`
	Enabled    bool   `json:"enabled"`
	Default    bool   `json:"default"`
	Hidden     bool   `json:"hidden"`
	Properties *none  `json:"properties"`
	UUID       string `json:"uuid"`
}

type function struct {
	ID           int            `json:"id"`
	Name         string         `json:"name"`
	Title        string         `json:"display_name"`
	ExportKey    string         `json:"export_key"`
	Destination  string         `json:"destination_handle"`
	Description  text           `json:"description"`
	Created      int64          `json:"created_date"`
	LastModified int64          `json:"last_modified_time"`
	ModifiedBy   principal      `json:"last_modified_by"`
	Tags         list[none]     `json:"tags"`
	UUID         string         `json:"uuid"`
	Version      int            `json:"version"`
	Workflows    list[none]     `json:"workflows"`
	ViewItems    list[viewItem] `json:"view_items"`

	module string
}

type text struct {
	Format  string `json:"format"`
	Content string `json:"content"`
}

type principal struct {
	ID    int    `json:"id"`
	Type  string `json:"type"`
	Name  string `json:"name"`
	Title string `json:"display_name"`
}

type destination struct {
	APIKeys   list[none] `json:"api_keys"`
	Type      int        `json:"destination_type"` // 0 queue
	ExpectAck bool       `json:"expect_ack"`
	ExportKey string     `json:"export_key"`
	Title     string     `json:"name"`
	Name      string     `json:"programmatic_name"`
	Tags      list[none] `json:"tags"`
	Users     list[none] `json:"users"`
	UUID      string     `json:"uuid"`
}

type incidentType struct {
	CreateDate  int64  `json:"create_date"`
	Description string `json:"description"`
	Enabled     bool   `json:"enabled"`
	ExportKey   string `json:"export_key"`
	Hidden      bool   `json:"hidden"`
	ID          int    `json:"id"`
	Name        string `json:"name"`
	ParentID    *none  `json:"parent_id"`
	System      bool   `json:"system"`
	UpdateDate  int64  `json:"update_date"`
	UUID        string `json:"uuid"`
}

type serverVersion struct {
	Build int    `json:"build_number"`
	Major int    `json:"major"`
	Minor int    `json:"minor"`
	Text  string `json:"version"`
}
