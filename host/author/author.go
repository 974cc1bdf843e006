// Package author is what the command line has for authors of modules.
//
// A plugin is a folder with the sources of one module. A new plugin is complete:
// it builds, passes its tests and its scenarios, and needs no network, because a
// copy of the SDK lies in it. The reference of a module is made from its manifest
// and the titles of its scenarios. To check a module is to hold it against the
// conformance kit (package tck). A watch notices that files of a plugin changed.
package author
