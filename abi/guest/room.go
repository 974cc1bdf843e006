package guest

// roomBytes is more than the rules of this project ever have on their stack.
const roomBytes = 24 << 10

// Room gives the goroutine that calls it the stack of a rule at once, while there
// is next to nothing on it. A stack that grows is copied, and each frame on it is
// looked up in the program's tables: rules that began with a small one spent nearly
// half of each turn on that. Code that runs parts of a rule in goroutines or
// coroutines of its own calls it first in each.
//
//go:noinline
func Room() byte {
	var room [roomBytes]byte
	return room[use(&room)]
}

//go:noinline
func use(room *[roomBytes]byte) int { return int(room[0]) }
