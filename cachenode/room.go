package cachenode

import (
	"errors"
	"maps"
	"slices"
	"syscall"

	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store/room"
)

// RoomStatus returns how the store stands: what it has, what it may have, and what keeps it from taking more.
func (n *Node) RoomStatus() room.Status { return n.keeper.Status() }

// disk reports whether an error is the disk's, and not that of whoever should deliver.
func disk(err error) bool {
	return slices.ContainsFunc([]syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS},
		func(errno syscall.Errno) bool { return errors.Is(err, errno) })
}

// busy reports whether somebody reads content, or it is being fetched.
func (n *Node) busy(root piecehash.Root) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.open[root]
	return c != nil && (c.users > 0 || c.filling())
}

// remove deletes content that nobody uses, to make room. Whoever asks for it meanwhile waits until that is over, and finds it
// as it is then: known and to be fetched, or unknown.
func (n *Node) remove(root piecehash.Root) error { return n.renew(root, n.cfg.Store.Remove) }

// renew closes what is open of content that nobody uses, and has change done to what is stored before it is opened again.
func (n *Node) renew(root piecehash.Root, change func(piecehash.Root) error) error {
	item, _ := n.cfg.Catalogue.Find(root)
	c := n.newContent(root)
	c.users = 1
	n.mu.Lock()
	old := n.open[root]
	if old != nil && (old.users > 0 || old.filling()) {
		n.mu.Unlock()
		return room.ErrInUse
	}
	n.open[root] = c
	n.mu.Unlock()
	var err error
	c.opening.Do(func() {
		if old != nil {
			old.close()
		}
		err = change(root)
		c.openErr = c.openStored(item)
	})
	n.release(c)
	n.forget(c)
	return err
}

// forget closes content that nothing was stored of and nobody uses: it need not be remembered.
func (n *Node) forget(c *content) {
	n.mu.Lock()
	idle := n.open[c.root] == c && c.users == 0 && !c.filling() && !c.here()
	if idle {
		delete(n.open, c.root)
	}
	n.mu.Unlock()
	if idle {
		c.close()
	}
}

// forgetRemoved closes content whose file somebody else has deleted, so that it gives its room back.
func (n *Node) forgetRemoved() {
	n.mu.Lock()
	open := slices.Collect(maps.Values(n.open))
	n.mu.Unlock()
	for _, c := range open {
		if c.whole() && !n.cfg.Store.Has(c.root) {
			_ = n.renew(c.root, func(piecehash.Root) error { return nil }) // in use: the next time
			n.keeper.Refresh(c.root)
		}
	}
}

// here reports whether anything of the content is here.
func (c *content) here() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.src != nil
}

// whole reports whether all of the content is here, and no fetch is at work on it.
func (c *content) whole() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.src != nil && c.fill == nil && c.src.Bitmap().Full()
}

// kept is content that devices are given, which counts as use.
func (c *content) kept(h Holding) Holding { return kept{h, c.node.keeper} }

type kept struct {
	Holding
	keeper *room.Keeper
}

// ReadPiece implements Holding.
func (h kept) ReadPiece(i int, buf []byte) ([]byte, error) {
	b, err := h.Holding.ReadPiece(i, buf)
	if err == nil {
		h.keeper.Use(h.Manifest().Root(), int64(len(b)))
	}
	return b, err
}
