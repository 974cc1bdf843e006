package resilienttest

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
)

func (s *Server) artifactsOf(incident Object) []Object {
	return s.of(incident["id"].(int64), "artifact")
}

func (s *Server) listArtifacts(c *call, incident Object) *answer {
	return ok(s.renderList("artifact", s.artifactsOf(incident), c.formats))
}

func (s *Server) queryArtifacts(c *call, incident Object) *answer {
	counted := c.r.URL.Query().Get("include_related_incident_count") == "true"
	return s.queryPaged(c, "artifact", rowsOf(s.artifactsOf(incident)), func(row Object) Object {
		if counted {
			row["related_incident_count"] = int64(1)
		}
		return row
	})
}

// artifact finds the artifact that the path names, if it belongs to the incident.
func (s *Server) artifact(c *call, incident Object) (Object, *answer) {
	artifact := s.get("artifact", c.id("id"))
	if artifact == nil || artifact["inc_id"] != incident["id"] {
		return nil, notFound(c.r.PathValue("id"))
	}
	return artifact, nil
}

func (s *Server) getArtifact(c *call, incident Object) *answer {
	artifact, bad := s.artifact(c, incident)
	if bad != nil {
		return bad
	}
	return ok(s.render("artifact", artifact, c.formats))
}

func (s *Server) createArtifacts(c *call, incident Object) *answer {
	body, bad := c.object()
	if bad != nil {
		return bad
	}
	created, bad := s.addArtifacts(c, incident, body, false)
	if bad != nil {
		return bad
	}
	rendered := s.renderList("artifact", created, c.formats)
	if s.options.ArtifactAnswerObject && len(rendered) > 0 {
		return ok(rendered[0])
	}
	return ok(rendered)
}

// addArtifacts validates one create request and makes an artifact of each of its values.
func (s *Server) addArtifacts(c *call, incident, body Object, withFile bool) ([]Object, *answer) {
	if bad := s.checkValues("artifact", body); bad != nil {
		return nil, bad
	}
	typeID, _ := body["type"].(int64)
	kind := s.world.artifactType(typeID)
	if kind == nil {
		return nil, badValue("type", body["type"])
	}
	text, _ := body["value"].(string)
	if strings.TrimSpace(text) == "" {
		return nil, fail(http.StatusBadRequest, "Missing required field: value")
	}
	if kind.File && !withFile {
		return nil, fail(http.StatusBadRequest, "An artifact of type "+kind.Name+" needs a file")
	}
	values := []string{strings.TrimSpace(text)}
	if kind.Multi {
		values = nil
		for _, value := range kind.separator.Split(text, -1) {
			if value = strings.TrimSpace(value); value != "" {
				values = append(values, value)
			}
		}
	}
	for _, value := range values {
		if kind.pattern != nil && !kind.pattern.MatchString(value) {
			return nil, fail(http.StatusBadRequest, "The value does not match the pattern of the artifact type")
		}
	}
	existing := s.artifactsOf(incident)
	if len(existing)+len(values) > s.options.MaxArtifacts {
		return nil, fail(http.StatusBadRequest, fmt.Sprintf("An incident can have at most %d artifacts", s.options.MaxArtifacts))
	}
	answered := []Object{}
	for _, value := range values {
		if old := find(existing, typeID, value); old != nil && !kind.AllowDuplicate {
			switch s.options.Duplicates {
			case DuplicateExisting:
				answered = append(answered, old)
				continue
			case DuplicateEmpty:
				continue
			case DuplicateRefused:
				return nil, fail(http.StatusBadRequest, "The artifact exists already")
			}
		}
		wanted := Object{"type": typeID, "value": value, "description": body["description"], "creator_principal": s.principal(c.account)}
		if properties, given := body["properties"]; given && properties != nil {
			wanted["properties"] = properties
		}
		if relating, given := body["relating"].(bool); given {
			wanted["relating"] = relating
		}
		artifact := s.makeArtifact(incident["id"].(int64), wanted)
		answered, existing = append(answered, artifact), append(existing, artifact)
		s.fire(c, cause{kind: "artifact", incident: incident, object: artifact, added: true})
	}
	return answered, nil
}

func find(artifacts []Object, typeID int64, value string) Object {
	for _, a := range artifacts {
		if a["type"] == typeID && a["value"] == value {
			return a
		}
	}
	return nil
}

// putArtifact changes only what may change since v28: description and relating.
func (s *Server) putArtifact(c *call, incident Object) *answer {
	artifact, bad := s.artifact(c, incident)
	if bad != nil {
		return bad
	}
	body, bad := c.object()
	if bad != nil {
		return bad
	}
	if bad := s.checkValues("artifact", body); bad != nil {
		return bad
	}
	before := cloneObject(artifact)
	artifact = s.own("artifact", artifact["id"].(int64))
	for _, name := range []string{"description", "relating"} {
		if value, given := body[name]; given {
			artifact[name] = value
		}
	}
	artifact["last_modified_time"], artifact["last_modified_by"] = s.now(), s.principal(c.account)
	s.fire(c, cause{kind: "artifact", incident: incident, object: artifact, before: before})
	return ok(s.render("artifact", artifact, c.formats))
}

func (s *Server) deleteArtifact(c *call, incident Object) *answer {
	artifact, bad := s.artifact(c, incident)
	if bad != nil {
		return bad
	}
	s.remove("artifact", artifact["id"].(int64))
	s.fire(c, cause{kind: "artifact", incident: incident, object: artifact, removed: true})
	return status()
}

// createFileArtifact takes a part "artifact" with JSON and a part "file".
func (s *Server) createFileArtifact(c *call, incident Object) *answer {
	parts, bad := c.parts()
	if bad != nil {
		return bad
	}
	meta, err := decode(parts["artifact"].content)
	body, isObject := meta.(Object)
	file, given := parts["file"]
	if err != nil || !isObject || !given {
		return fail(http.StatusBadRequest, "Parts artifact and file are required")
	}
	if body["value"] == nil {
		body["value"] = file.name
	}
	created, bad := s.addArtifacts(c, incident, body, true)
	if bad != nil {
		return bad
	}
	for _, artifact := range created {
		if artifact["attachment"] != nil {
			continue
		}
		attachment := s.makeAttachment(incident["id"].(int64), nil, Object{"name": file.name, "content_type": file.contentType}, stored(file.content))
		// the file hangs on the artifact, not on the incident's attachment list
		delete(s.state.objects["attachment"], attachment["id"].(int64))
		artifact["attachment"] = attachment
		s.state.contents[contentKey("artifact", artifact["id"])] = stored(file.content)
	}
	return ok(s.renderList("artifact", created, c.formats))
}

func (s *Server) artifactContents(c *call, incident Object) *answer {
	artifact, bad := s.artifact(c, incident)
	if bad != nil {
		return bad
	}
	attachment, isFile := artifact["attachment"].(Object)
	if !isFile {
		return notFound(c.r.PathValue("id"))
	}
	return file(attachment, s.state.contents[contentKey("artifact", artifact["id"])])
}

// file answers the bytes of an attachment.
func file(attachment Object, content content) *answer {
	name, _ := attachment["name"].(string)
	contentType, _ := attachment["content_type"].(string)
	header := http.Header{}
	header.Set("Content-Type", contentType)
	header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	header.Set("Content-Length", strconv.FormatInt(content.size, 10))
	return &answer{status: http.StatusOK, file: &content, header: header}
}

type part struct {
	name, contentType string
	content           []byte
}

// parts reads a multipart/form-data body.
func (c *call) parts() (map[string]part, *answer) {
	malformed := fail(http.StatusBadRequest, "The request body is not multipart/form-data")
	_, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || params["boundary"] == "" {
		return nil, malformed
	}
	reader := multipart.NewReader(bytes.NewReader(c.body), params["boundary"])
	parts := map[string]part{}
	for {
		p, err := reader.NextPart()
		if err == io.EOF {
			return parts, nil
		}
		if err != nil {
			return nil, malformed
		}
		content, err := io.ReadAll(p)
		if err != nil {
			return nil, malformed
		}
		parts[p.FormName()] = part{name: p.FileName(), contentType: p.Header.Get("Content-Type"), content: content}
	}
}
