package hostile

import (
	"bytes"
	"crypto"
	"encoding/json"
	"time"

	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository"
	"github.com/dunlin-project/dunlin/metadata/repository/keys"
)

// record is the custom.v1 of an update, with whatever fields somebody has put into it.
type record map[string]any

// forge signs a changed record of an update that is in the catalogue, with the publisher's own keys: what "publish"
// refuses to do, and a publisher with another tool, or whoever has stolen the keys, does not.
func (w *world) forge(id, version string, change func(record)) {
	w.t.Helper()
	path := metadata.CataloguePath(id, version)
	w.sign(func(e *repository.Edit) error {
		target, _ := e.Target(repository.RoleTargets, path)
		custom := struct {
			V1 record `json:"v1"`
		}{}
		dec := json.NewDecoder(bytes.NewReader(target.Custom))
		dec.UseNumber()
		if err := dec.Decode(&custom); err != nil {
			return err
		}
		change(custom.V1)
		b, err := json.Marshal(custom)
		if err != nil {
			return err
		}
		target.Custom = b
		return e.SetTarget(repository.RoleTargets, path, target)
	})
}

// sign changes the catalogue and publishes it.
func (w *world) sign(change func(*repository.Edit) error) {
	w.t.Helper()
	folder, err := keys.Open(w.path(publisherName, "keys"), keys.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	targets, err := folder.OfflineSigner("targets", func() ([]byte, error) { return []byte(passphrase), nil })
	if err != nil {
		w.t.Fatal(err)
	}
	online, err := folder.OnlineSigner("online")
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := repository.Open(repository.Config{
		Public: w.path(publisherName, "public", "metadata"), Record: w.path(publisherName, "state", "catalogue.json"),
		Lifetimes: repository.CatalogueLifetimes(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := r.Update(w.t.Context(), time.Now(), []crypto.Signer{targets, online}, change); err != nil {
		w.t.Fatal(err)
	}
}
