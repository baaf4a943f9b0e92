package sensor

import (
	"context"
	"os"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/file"
	"github.com/patchsensor/patchsensor/internal/owner"
)

// matched is the version of a package of which a file of the same build ID as the mapped
// one is known: in the layers of the image that the container was made from, or as the
// sensor saw it earlier, maybe through another inode. It is empty where versions share
// the build ID.
func (sc *scan) matched(ctx context.Context, p owner.Package, c *class) string {
	e, err := sc.elf(ctx, c.file)
	if err != nil || e.BuildID == "" {
		return ""
	}
	if version := sc.inLayers(ctx, p, c, e.BuildID); version != "" {
		return version
	}
	if sc.mem == nil || sc.mem.keep == nil {
		return ""
	}
	list, err := sc.mem.keep.KnownBuildID(ctx, e.BuildID)
	if err != nil {
		sc.log.Warn("what was observed earlier cannot be read", zap.Error(err))
		return ""
	}
	version := ""
	for _, k := range list {
		if k.Manager != p.Manager || k.Name != p.Name || k.Arch != p.Arch {
			continue
		}
		if version != "" && version != k.Version {
			return ""
		}
		version = k.Version
	}
	return version
}

// inLayers looks for the file in the image of its container, as that is without what
// happened inside since.
func (sc *scan) inLayers(ctx context.Context, p owner.Package, c *class, buildID string) string {
	container := sc.containerOf(c.first.process)
	if container == nil || !sc.inImage(container, c) {
		return ""
	}
	r := sc.rootOf(ctx, container)
	if r.stack == nil || r.image.ID == "" {
		return ""
	}
	pk, err := sc.imagePackages(ctx, r.image)
	if err != nil || pk.db == nil || len(pk.db.Problems()) > 0 {
		return ""
	}
	info, err := pk.tree.Stat(c.shown)
	if err != nil || !info.Regular() {
		return ""
	}
	e, err := usable(sc.cache.Facts(ctx, file.KeyOf(info), func() (*os.File, error) { return pk.tree.Open(c.shown) }))
	if err != nil || e.BuildID != buildID {
		return ""
	}
	if pk.ask([]string{c.shown}) != nil {
		return ""
	}
	o := pk.owned[c.shown]
	if o == nil || o.Package.Manager != p.Manager || o.Package.Name != p.Name || o.Package.Arch != p.Arch || o.Package.State != owner.StateInstalled {
		return ""
	}
	return o.Package.Version
}
