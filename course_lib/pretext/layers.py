"""Layer by layer: what the maps inside a network know, where they are strong, and the mask that they give away.

Gidaris, Singh, Komodakis 2018 (arXiv 1803.07728): tables 1 and 4, figure 3. Zhang, Isola, Efros 2017 (arXiv
1611.09842): table 4 transfers to segmentation, as the dense probe here does.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import evaluate
from course_lib.data import load
from course_lib.experiments import Setting, train_to_the_end
from course_lib.nets.resnet import ResNet
from course_lib.recipe import Recipe, build, lookup
from course_lib.train import Method

DENSE = 2  # masks and attention: after the second stage, 8 x 8 positions


@torch.no_grad()
def feature_maps(method: Method, x: Tensor, batch_size: int = 500) -> list[Tensor]:
    """The maps after the stem and after each stage of a method's ResNets, (N, C, h, w) each, while it encodes x.

    Maps of one depth are joined along the channels where a method has two encoders (split-brain).
    """
    nets = [module for module in method.modules() if isinstance(module, ResNet)]
    seen, hooks = {}, []
    for depth in range(1 + len(nets[0].stages)):
        for net in nets:
            layer = net.stem if depth == 0 else net.stages[depth - 1]
            hooks.append(layer.register_forward_hook(lambda *call, d=depth: seen.setdefault(d, []).append(call[-1])))
    found = []
    for batch in x.split(batch_size):
        evaluate.features(method, batch, batch_size)
        found.append([torch.cat(seen[depth], 1) for depth in sorted(seen)])
        seen.clear()
    for hook in hooks:
        hook.remove()
    return [torch.cat(maps) for maps in zip(*found)]


def attention(maps: Tensor) -> Tensor:
    """Where a feature map is strong: the sum of squares over channels, (N, C, h, w) -> (N, 1, h, w), each summing to 1.

    Zagoruyko & Komodakis 2017 (arXiv 1612.03928), equation 1: the maps that Gidaris et al. draw.
    """
    energy = maps.square().sum(1, keepdim=True)
    return energy / energy.sum((2, 3), keepdim=True)


def by_layer(method: Method) -> dict[str, float]:
    """Probe accuracy on the mean of each map; share of the second stage's attention on the emoji; IoU of masks probed
    from it. All on unseen emoji."""
    bank, unseen = load("scenes", "train"), load("scenes", "test")
    maps, unseen_maps = feature_maps(method, bank.x), feature_maps(method, unseen.x)
    row = {}
    for depth in range(1, len(maps)):
        h, h_unseen = maps[depth].mean((2, 3)), unseen_maps[depth].mean((2, 3))
        probe = evaluate.linear_probe(h, bank.y, groups=bank.info["emoji"])
        row[f"stage {depth}"] = evaluate.accuracy(probe(h_unseen), unseen.y)
    mask = evaluate.mask_probe(maps[DENSE], bank.info["mask"], groups=bank.info["emoji"])
    row["masks"] = evaluate.intersection_over_union(mask(unseen_maps[DENSE]) > 0, unseen.info["mask"])
    inside = F.adaptive_avg_pool2d(unseen.info["mask"].float(), unseen_maps[DENSE].shape[2:])
    row["attention"] = (attention(unseen_maps[DENSE]) * inside).sum((1, 2, 3)).mean().item()
    return row


def of_random(recipe: Recipe, seed: int) -> dict:
    return {"steps": 0, **by_layer(build(recipe, seed))}


def of_trained(recipe: Recipe, seed: int) -> dict:
    method, about = train_to_the_end(recipe, seed)
    return about | by_layer(method)


LAYERS = {
    "pretext-layers": {
        "random encoder": Setting(lookup("rotation"), of_random),
        **{
            name: Setting(lookup(name), of_trained)
            for name in ("autoencoder", "context-encoder", "rotation", "jigsaw", "colourisation", "supervised")
        },
    },
}
