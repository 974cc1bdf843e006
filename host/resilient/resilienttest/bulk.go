package resilienttest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Bulk describes many incidents that are alike. The zero value is incidents without
// children, one a minute since 1 January 2020.
type Bulk struct {
	From           time.Time     // create_date of the first incident; default 2020-01-01 UTC
	Every          time.Duration // from one create_date to the next; default a minute
	Artifacts      int           // of each incident: IP addresses, DNS names and SHA-256 hashes in turn, none twice
	Tasks          int           // of each incident
	SimulatedEvery int           // each n-th incident is a simulation (inc_training); 0: none
	ClosedEvery    int           // each n-th incident is closed; 0: none
}

// bulk is a Bulk with the ids it has been given. Its objects are made when they are asked
// for, so that any number of them takes no memory.
type bulk struct {
	Bulk
	count int64 // incidents
	first map[string]int64
	each  map[string]int64 // objects of one incident
}

// AddIncidents makes n incidents that were there before the rules were: they cause no
// messages. It returns the id of the first; the others follow it. Of n incidents with
// Bulk.SimulatedEvery 10 the 10th, 20th, … are simulations.
func (s *Server) AddIncidents(n int, of Bulk) (first int64) {
	if of.From.IsZero() {
		of.From = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	setDefault(&of.Every, time.Minute)
	return locked(s, func() int64 {
		b := &bulk{Bulk: of, count: int64(n), first: map[string]int64{},
			each: map[string]int64{"incident": 1, "artifact": int64(of.Artifacts), "task": int64(of.Tasks)}}
		for kind, each := range b.each {
			b.first[kind] = s.state.next[kind]
			s.state.next[kind] += b.count * each
		}
		s.state.bulks = append(s.state.bulks, b)
		return b.first["incident"]
	})
}

// bulkObject makes an object of a bulk; nil when it is none, or has been changed or removed.
func (s *Server) bulkObject(kind string, id int64) Object {
	for _, b := range s.state.bulks {
		n := id - b.first[kind]
		if each := b.each[kind]; n >= 0 && n < b.count*each && s.untouched(kind, id) {
			return s.makeOfBulk(b, kind, n)
		}
	}
	return nil
}

func (s *Server) untouched(kind string, id int64) bool {
	return s.state.objects[kind][id] == nil && s.state.removed[kind][id] == nil
}

// makeOfBulk makes the n-th object of a kind, from 0.
func (s *Server) makeOfBulk(b *bulk, kind string, n int64) Object {
	if kind == "incident" {
		return s.newIncident(b.incident(n))
	}
	owner := n / b.each[kind]
	incident := s.get("incident", b.first["incident"]+owner)
	if incident == nil {
		return nil
	}
	created := b.created(owner)
	if kind == "task" {
		return s.newTask(incident, Object{
			"id": b.first[kind] + n, "name": fmt.Sprintf("Task %d of incident %d", n%b.each[kind]+1, incident["id"]), "init_date": created,
			"instr_text": fmt.Sprintf("<div>Handle <b>task %d</b>.</div>", n%b.each[kind]+1),
		})
	}
	values := Object{"id": b.first[kind] + n, "created": created, "last_modified_time": created}
	values["type"], values["value"] = bulkArtifact(b.first[kind] + n)
	return s.newArtifact(incident, values)
}

// bulkArtifact is the type and value of the artifact with this id.
func bulkArtifact(id int64) (typeID int64, value string) {
	switch id % 3 {
	case 0:
		return 1, fmt.Sprintf("198.%d.%d.%d", 18+(id>>16&1), id>>8&255, id&255) // repeats after 131,072 ids
	case 1:
		return 2, fmt.Sprintf("host-%d.example.net", id)
	}
	sum := sha256.Sum256(fmt.Append(nil, id))
	return 38, hex.EncodeToString(sum[:])
}

func (b *bulk) created(n int64) int64 {
	return b.From.Add(time.Duration(n) * b.Every).UnixMilli()
}

// incident is what makes the n-th incident differ from the others.
func (b *bulk) incident(n int64) Object {
	created, id := b.created(n), b.first["incident"]+n
	o := Object{
		"id": id, "name": fmt.Sprintf("Incident %d of many", id), "create_date": created, "discovered_date": created,
		"inc_last_modified_date": created, "description": textValue{"html", fmt.Sprintf("<div>Number <b>%d</b> of many.</div>", n+1)},
		"severity_code": 4 + n%3, "inc_training": nth(n, b.SimulatedEvery),
	}
	if nth(n, b.ClosedEvery) {
		o["plan_status"], o["end_date"], o["resolution_id"] = "C", created+3_600_000, int64(10)
	}
	return o
}

func nth(n int64, every int) bool { return every > 0 && (n+1)%int64(every) == 0 }

// bulkRows are the incidents of all bulks for a search.
func (s *Server) bulkRows() []row {
	if len(s.state.bulks) == 0 {
		return nil
	}
	base := s.newIncident(nil)
	var rows []row
	for _, b := range s.state.bulks {
		for n := range b.count {
			if s.untouched("incident", b.first["incident"]+n) {
				rows = append(rows, row{b.incident(n), base, func() Object { return s.makeOfBulk(b, "incident", n) }})
			}
		}
	}
	return rows
}

// bulkChildren makes the objects of one incident of a bulk.
func (s *Server) bulkChildren(kind string, incident int64) []Object {
	var out []Object
	for _, b := range s.state.bulks {
		owner := incident - b.first["incident"]
		if owner < 0 || owner >= b.count {
			continue
		}
		for n := owner * b.each[kind]; n < (owner+1)*b.each[kind]; n++ {
			if s.untouched(kind, b.first[kind]+n) {
				if o := s.makeOfBulk(b, kind, n); o != nil {
					out = append(out, o)
				}
			}
		}
	}
	return out
}
