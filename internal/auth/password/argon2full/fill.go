package argon2full

import "encoding/binary"

// A fill is the memory of one computation, a matrix of blocks with a row for each lane, and the place reached in it.
type fill struct {
	p       Params
	memory  []block
	lane    uint32 // blocks of a lane, q in RFC 9106
	segment uint32 // blocks of a slice of a lane
}

func newFill(p Params) *fill {
	lanes := uint32(p.Lanes)
	segment := p.Memory / (slices * lanes)
	lane := slices * segment
	return &fill{p: p, memory: make([]block, lanes*lane), lane: lane, segment: segment}
}

// start makes the first two blocks of each lane from the digest of what goes in (RFC 9106 section 3.2, 3 and 4).
func (f *fill) start(seed []byte) {
	for lane := range uint32(f.p.Lanes) {
		for column := range uint32(2) {
			in := binary.LittleEndian.AppendUint32(seed[:len(seed):len(seed)], column)
			in = binary.LittleEndian.AppendUint32(in, lane)
			f.memory[lane*f.lane+column].set(variableHash(in, blockSize))
		}
	}
}

func (f *fill) run() {
	for pass := range f.p.Passes {
		for slice := range uint32(slices) {
			for lane := range uint32(f.p.Lanes) {
				f.runSegment(place{pass: pass, slice: slice, lane: lane})
			}
		}
	}
}

// last is the sum of the last blocks of all lanes (section 3.2, 7).
func (f *fill) last() *block {
	var sum block
	for lane := range int(f.p.Lanes) {
		sum.add(&f.memory[(lane+1)*int(f.lane)-1])
	}
	return &sum
}

// A place is a segment: one slice of one lane in one pass.
type place struct{ pass, slice, lane uint32 }

func (p place) first() bool { return p.pass == 0 && p.slice == 0 }

func (f *fill) runSegment(at place) {
	fixed := f.p.Type == I || f.p.Type == ID && at.pass == 0 && at.slice < slices/2
	var words *addresses
	if fixed {
		words = f.newAddresses(at)
	}
	add := at.pass > 0 && f.p.Version != Version10
	row := f.memory[at.lane*f.lane:][:f.lane]
	index := uint32(0)
	if at.first() {
		index = 2 // what start made
	}
	for ; index < f.segment; index++ {
		column := at.slice*f.segment + index
		previous := &row[(column+f.lane-1)%f.lane]
		random := previous[0]
		if fixed {
			random = words.at(index)
		}
		compress(&row[column], previous, f.reference(at, index, random), add)
	}
}

// reference is the block that is read for the one at index in a segment, chosen by a random number (section 3.4.2): of
// the blocks that are done, with more weight on what was written last.
func (f *fill) reference(at place, index uint32, random uint64) *block {
	lane := uint32(random>>32) % uint32(f.p.Lanes)
	if at.first() {
		lane = at.lane
	}
	// The blocks that may be read are count in number and begin at from, around the end of the lane.
	count, from := f.lane-f.segment, (at.slice+1)%slices*f.segment
	if at.pass == 0 {
		count, from = at.slice*f.segment, 0
	}
	switch {
	case lane == at.lane:
		count += index - 1 // those of this segment too, but the one before
	case index == 0:
		count--
	}
	x := random & 0xffffffff
	x = x * x >> 32
	x = uint64(count) * x >> 32
	column := (from + count - 1 - uint32(x)) % f.lane
	return &f.memory[lane*f.lane+column]
}

// addresses are the random numbers of a segment where they do not depend on the password (section 3.4.1.2).
type addresses struct {
	input, block block
}

func (f *fill) newAddresses(at place) *addresses {
	return &addresses{input: block{
		uint64(at.pass), uint64(at.lane), uint64(at.slice),
		uint64(len(f.memory)), uint64(f.p.Passes), uint64(f.p.Type),
	}}
}

// counter is the word of the input that counts the blocks of addresses.
const counter = 6

// at returns the number for an index. Indexes are asked for in ascending order, each but the first few.
func (a *addresses) at(index uint32) uint64 {
	const n = uint32(len(a.block))
	if want := uint64(index/n) + 1; a.input[counter] != want {
		a.input[counter] = want
		var zero block
		compress(&a.block, &zero, &a.input, false)
		compress(&a.block, &zero, &a.block, false)
	}
	return a.block[index%n]
}
