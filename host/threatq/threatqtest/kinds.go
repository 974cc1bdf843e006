package threatqtest

// kind describes one collection: how its objects are named and shown.
type kind struct {
	collection string
	singular   string // stem of the owner key in rows: "indicator" gives indicator_id
	nameField  string
	objectID   int // id of a custom object type in /api/objects; 0 for built-in types
	display    string
	plural     string
	firstID    int // ids start apart, so that the id of one collection never passes for that of another
}

func (k *kind) custom() bool { return k.objectID != 0 }

var kinds = []*kind{
	{collection: "indicators", singular: "indicator", nameField: "value", display: "Indicator", plural: "Indicators", firstID: 501},
	{collection: "adversaries", singular: "adversary", nameField: "name", display: "Adversary", plural: "Adversaries", firstID: 201},
	{collection: "events", singular: "event", nameField: "title", display: "Event", plural: "Events", firstID: 55},
	{collection: "attachments", singular: "attachment", nameField: "name", display: "Attachment", plural: "Attachments", firstID: 12},
	{collection: "signatures", singular: "signature", nameField: "name", display: "Signature", plural: "Signatures", firstID: 301},
	{collection: "tasks", singular: "task", nameField: "name", display: "Task", plural: "Tasks", firstID: 41},
	customKind(1, "campaign", "Campaign", "Campaigns"),
	customKind(2, "course_of_action", "Course of Action", "Courses of Action"),
	customKind(3, "exploit_target", "Exploit Target", "Exploit Targets"),
	customKind(4, "incident", "Incident", "Incidents"),
	customKind(5, "ttp", "TTP", "TTPs"),
	customKind(6, "attack_pattern", "Attack Pattern", "Attack Patterns"),
	customKind(7, "identity", "Identity", "Identities"),
	customKind(8, "intrusion_set", "Intrusion Set", "Intrusion Sets"),
	customKind(9, "malware", "Malware", "Malware"),
	customKind(10, "report", "Report", "Reports"),
	customKind(11, "tool", "Tool", "Tools"),
	customKind(12, "vulnerability", "Vulnerability", "Vulnerabilities"),
}

func customKind(id int, code, display, plural string) *kind {
	return &kind{collection: code, singular: code, nameField: "value", objectID: id, display: display, plural: plural, firstID: 1000 + 100*id}
}

var kindByCollection = func() map[string]*kind {
	m := make(map[string]*kind, len(kinds))
	for _, k := range kinds {
		m[k.collection] = k
	}
	return m
}()

// indicatorType gives name and class (contract: indicator types).
type indicatorType struct {
	name, class string
	idB         int
}

// In NumberingA the id is the place in this list, in NumberingB it is idB.
var indicatorTypes = []indicatorType{
	{"ASN", "network", 41}, {"Binary String", "host", 42}, {"CIDR Block", "network", 1}, {"CVE", "host", 43},
	{"Email Address", "network", 3}, {"Email Attachment", "host", 4}, {"Email Subject", "network", 5},
	{"File Mapping", "host", 44}, {"File Path", "host", 6}, {"Filename", "host", 7}, {"FQDN", "network", 8},
	{"Fuzzy Hash", "host", 9}, {"GOST Hash", "host", 10}, {"Hash ION", "host", 45}, {"IP Address", "network", 11},
	{"IPv6 Address", "network", 46}, {"MAC Address", "host", 47}, {"MD5", "host", 12}, {"Mutex", "host", 13},
	{"Password", "host", 14}, {"Registry Key", "host", 15}, {"Service Name", "host", 48}, {"SHA-1", "host", 16},
	{"SHA-256", "host", 17}, {"SHA-384", "host", 18}, {"SHA-512", "host", 19}, {"String", "network", 20},
	{"x509 Serial", "host", 49}, {"x509 Subject", "host", 50}, {"URL", "network", 21}, {"URL Path", "network", 22},
	{"User-agent", "network", 23}, {"Username", "host", 24}, {"X-Mailer", "network", 25},
}

// Ids 1 to 5 agree on every recorded installation.
var indicatorStatuses = []struct{ name, description string }{
	{"Active", "Poses a threat and is being exported to detection tools."},
	{"Expired", "No longer poses a serious threat."},
	{"Indirect", "Associated to an active indicator or event (i.e. pDNS)."},
	{"Review", "Requires further analysis."},
	{"Whitelisted", "Poses NO risk and should never be deployed."},
}

var eventTypes = []string{
	"Spearphish", "Watering Hole", "SQL Injection Attack", "DoS Attack", "Malware", "Watchlist", "Command and Control",
	"Anonymization", "Exfiltration", "Host Characteristics", "Compromised PKI Certificate", "Login Compromise", "Incident", "Sighting",
}

var attachmentTypes = []struct{ name, parser string }{
	{"Cuckoo", "Cuckoo"}, {"CrowdStrike Intelligence", ""}, {"Early Warning and Indicator Notice (EWIN)", ""},
	{"FireEye Analysis", "FireEyeAnalysis"}, {"FBI FLASH", ""}, {"Generic Text", "GenericText"}, {"Intelligence Whitepaper", ""},
	{"iSight Report", ""}, {"iSight ThreatScape Intelligence Report", ""}, {"JIB", ""}, {"MAEC", "MAEC"},
	{"Malware Analysis Report", ""}, {"Malware Initial Findings Report (MFIR)", ""}, {"Malware Sample", ""}, {"Packet Capture", ""},
	{"Palo Alto Networks WildFire XML", "PaloAltoNetworksWildFireXML"}, {"PCAP", ""}, {"PDF", "PDF"},
	{"Private Industry Notification (PIN)", ""}, {"Spearphish Attachment", ""}, {"STIX", "STIX"},
	{"ThreatAnalyzer Analysis", "ThreatAnalyzerAnalysis"}, {"ThreatQ CSV File", "ThreatQCSVFile"}, {"Whitepaper", ""},
}

var taskStatuses = []string{"To Do", "In Progress", "Review", "Done"}

const taskDone = 4

var taskPriorities = []string{"Low", "Medium", "High"}
