package typing

import (
	"strings"
	"unicode"
)

// Names of the ThreatQ indicator types, as a new instance spells them (contract: lookups, indicator types).
const (
	TypeIP              = "IP Address"
	TypeIPv6            = "IPv6 Address"
	TypeCIDR            = "CIDR Block"
	TypeFQDN            = "FQDN"
	TypeURL             = "URL"
	TypeURLPath         = "URL Path"
	TypeEmail           = "Email Address"
	TypeEmailSubject    = "Email Subject"
	TypeEmailAttachment = "Email Attachment"
	TypeMD5             = "MD5"
	TypeSHA1            = "SHA-1"
	TypeSHA256          = "SHA-256"
	TypeSHA384          = "SHA-384"
	TypeSHA512          = "SHA-512"
	TypeFuzzyHash       = "Fuzzy Hash"
	TypeFilename        = "Filename"
	TypeFilePath        = "File Path"
	TypeRegistryKey     = "Registry Key"
	TypeMutex           = "Mutex"
	TypeMAC             = "MAC Address"
	TypeUserAgent       = "User-agent"
	TypeUsername        = "Username"
	TypePassword        = "Password"
	TypeServiceName     = "Service Name"
	TypeCVE             = "CVE"
	TypeString          = "String"
)

// standardTypes is used when the types of the instance are not known.
var standardTypes = NewTypeSet(
	TypeIP, TypeIPv6, TypeCIDR, TypeFQDN, TypeURL, TypeURLPath, TypeEmail, TypeEmailSubject, TypeEmailAttachment,
	TypeMD5, TypeSHA1, TypeSHA256, TypeSHA384, TypeSHA512, TypeFuzzyHash, TypeFilename, TypeFilePath, TypeRegistryKey,
	TypeMutex, TypeMAC, TypeUserAgent, TypeUsername, TypePassword, TypeServiceName, TypeCVE, TypeString,
	"ASN", "Binary String", "File Mapping", "GOST Hash", "Hash ION", "x509 Serial", "x509 Subject", "X-Mailer",
)

// substitutes are the types that stand in where the instance lacks one. Types that are not listed have none.
var substitutes = map[string]string{
	TypeIPv6:            TypeString,
	TypeCIDR:            TypeString,
	TypeEmailAttachment: TypeFilename,
	TypeServiceName:     TypeString,
	TypeMAC:             TypeString,
	TypeCVE:             TypeString,
	TypeFuzzyHash:       TypeString,
}

// TypeSet holds the names of indicator types; case, blanks, "_" and "-" do not matter in look-ups.
type TypeSet map[string]string

// NewTypeSet makes a set of the names that an instance uses.
func NewTypeSet(names ...string) TypeSet {
	set := make(TypeSet, len(names))
	for _, name := range names {
		if key := fold(name); key != "" {
			set[key] = name
		}
	}
	return set
}

// find returns the instance's spelling of a type name.
func (s TypeSet) find(name string) (string, bool) {
	if len(s) == 0 {
		s = standardTypes
	}
	found, ok := s[fold(name)]
	return found, ok
}

// resolve returns the name under which the instance takes an indicator of that type, or of its substitute.
func (s TypeSet) resolve(name string) (string, bool) {
	if len(s) == 0 {
		return name, true
	}
	if found, ok := s.find(name); ok {
		return found, true
	}
	return s.find(substitutes[name])
}

// fold makes names comparable: lower case, without blanks, "_" and "-".
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || unicode.IsSpace(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// kind says how a value is read.
type kind uint8

const (
	kindNone     kind = iota // no counterpart in ThreatQ
	kindFamily               // a name of malware
	kindFile                 // bytes, not a value
	kindPassword             // only when asked for
	kindPlain                // taken as typed
	kindAddress
	kindCIDR
	kindHost
	kindURL
	kindEmail
	kindHash
	kindFuzzy
	kindCVE
	kindMAC
	kindFileName
	kindSystemName
	kindUserAgent
	kindHeader
	kindText   // findings only
	kindString // findings, else the value itself
)

// row is one line of the type table (contract: artifact → indicator, type table).
type row struct {
	id    int64
	label string
	kind  kind
	typ   string // ThreatQ type for kindPlain; the declared type for kindHash
}

var rows = []row{
	{1, "IP Address", kindAddress, ""},
	{2, "DNS Name", kindHost, ""},
	{3, "URL", kindURL, ""},
	{4, "RFC 822 Email Message File", kindFile, ""},
	{5, "Email Subject", kindPlain, TypeEmailSubject},
	{6, "Email Body", kindText, ""},
	{7, "Email Attachment", kindFile, ""},
	{8, "Email Attachment Name", kindPlain, TypeEmailAttachment},
	{9, "Email Sender", kindEmail, ""},
	{12, "Malware Sample", kindFile, ""},
	{13, "Malware MD5 Hash", kindHash, TypeMD5},
	{14, "Malware SHA-1 Hash", kindHash, TypeSHA1},
	{15, "Log File", kindFile, ""},
	{16, "Other File", kindFile, ""},
	{19, "Email Sender Name", kindText, ""},
	{20, "Email Recipient", kindEmail, ""},
	{22, "Malware Sample Fuzzy Hash", kindFuzzy, ""},
	{23, "User Account", kindPlain, TypeUsername},
	{24, "Registry Key", kindPlain, TypeRegistryKey},
	{25, "System Name", kindSystemName, ""},
	{26, "Process Name", kindFileName, ""},
	{27, "Port", kindNone, ""},
	{28, "Service", kindPlain, TypeServiceName},
	{29, "String", kindString, ""},
	{30, "Mutex", kindPlain, TypeMutex},
	{31, "File Name", kindFileName, ""},
	{32, "Password", kindPassword, ""},
	{34, "HTTP Request Header", kindHeader, ""},
	{35, "HTTP Response Header", kindText, ""},
	{36, "X509 Certificate File", kindFile, ""},
	{37, "File Path", kindPlain, TypeFilePath},
	{38, "Malware SHA-256 Hash", kindHash, TypeSHA256},
	{39, "MAC Address", kindMAC, ""},
	{40, "URL Referer", kindURL, ""},
	{41, "User Agent", kindUserAgent, ""},
	{42, "URI Path", kindPlain, TypeURLPath},
	{43, "Threat CVE ID", kindCVE, ""},
	{44, "Network CIDR Range", kindCIDR, ""},
	{45, "Malware Family/Variant", kindFamily, ""},
	{46, "Observed Data", kindText, ""},
	{47, "Network Traffic", kindText, ""},
	{48, "Malware SHA-512 Hash", kindHash, TypeSHA512},
}

var (
	rowsByID    = make(map[int64]row, len(rows))
	rowsByLabel = make(map[string]row, len(rows))

	// kindsByType reads the values of ThreatQ types that need more than cleaning.
	kindsByType = map[string]kind{
		TypeIP: kindAddress, TypeIPv6: kindAddress, TypeCIDR: kindCIDR, TypeFQDN: kindHost, TypeURL: kindURL,
		TypeEmail: kindEmail, TypeMD5: kindHash, TypeSHA1: kindHash, TypeSHA256: kindHash, TypeSHA384: kindHash,
		TypeSHA512: kindHash, TypeFuzzyHash: kindFuzzy, TypeFilename: kindFileName, TypeMAC: kindMAC,
		TypeUserAgent: kindUserAgent, TypePassword: kindPassword, TypeCVE: kindCVE,
	}
)

func init() {
	for _, r := range rows {
		rowsByID[r.id] = r
		rowsByLabel[fold(r.label)] = r
	}
}

func rowOf(a Artifact) (row, bool) {
	if r, ok := rowsByID[a.TypeID]; ok {
		return r, true
	}
	r, ok := rowsByLabel[fold(a.TypeName)]
	return r, ok
}

func rowOfThreatQType(name string) row {
	standard, ok := standardTypes[fold(name)]
	if !ok {
		return row{kind: kindPlain, typ: name}
	}
	if k, ok := kindsByType[standard]; ok {
		return row{kind: k, typ: standard}
	}
	return row{kind: kindPlain, typ: standard}
}

// Reverse says what ArtifactType depends on.
type Reverse struct {
	// SyncPasswords lets passwords through (setting sync_passwords).
	SyncPasswords bool
	// HasArtifactType tells whether the organization has an artifact type of that label. Nil means it has all.
	HasArtifactType func(label string) bool
}

// ArtifactType returns the label of the artifact type for an indicator that comes back from ThreatQ, or "" if it must
// not be added (passwords). A value with white space gets "String" where the server would split it into several
// artifacts. The pattern of the type (reg_exp) is not checked here.
func ArtifactType(threatqType, value string, o Reverse) string {
	const fallback = "String"
	standard := standardTypes[fold(threatqType)]
	if standard == TypePassword && !o.SyncPasswords {
		return ""
	}
	label, ok := artifactLabels[standard]
	if !ok || o.HasArtifactType != nil && !o.HasArtifactType(label) {
		return fallback
	}
	if splitByServer[label] && strings.ContainsFunc(strings.TrimSpace(value), unicode.IsSpace) {
		return fallback
	}
	return label
}

// artifactLabels is the reverse table (contract: related indicator → artifact). What is missing becomes a String.
var artifactLabels = map[string]string{
	TypeIP: "IP Address", TypeIPv6: "IP Address", TypeCIDR: "Network CIDR Range", TypeFQDN: "DNS Name", TypeURL: "URL",
	TypeURLPath: "URI Path", TypeEmail: "Email Sender", TypeEmailSubject: "Email Subject",
	TypeEmailAttachment: "Email Attachment Name", TypeFilename: "File Name", TypeFilePath: "File Path",
	TypeMD5: "Malware MD5 Hash", TypeSHA1: "Malware SHA-1 Hash", TypeSHA256: "Malware SHA-256 Hash",
	TypeSHA512: "Malware SHA-512 Hash", TypeFuzzyHash: "Malware Sample Fuzzy Hash", TypeMutex: "Mutex",
	TypeRegistryKey: "Registry Key", TypeMAC: "MAC Address", TypeCVE: "Threat CVE ID", TypeUsername: "User Account",
	TypeUserAgent: "User Agent", TypeServiceName: "Service", TypePassword: "Password",
}

// splitByServer are the multi-value artifact types among artifactLabels.
var splitByServer = map[string]bool{
	"IP Address": true, "DNS Name": true, "URL": true, "MAC Address": true, "Threat CVE ID": true, "Network CIDR Range": true,
}
