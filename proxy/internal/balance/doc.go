// Package balance chooses among the members of a group: by load, in turn, by
// latency or by a key; by weight and tier; and it keeps those out that fail. It
// is pure: it opens nothing, starts nothing, and is told the time.
//
// What is chosen from is a view, made anew when a member's health changes and
// read without a lock; a choice looks at two members, however many there are, or
// at all when they are few.
package balance
