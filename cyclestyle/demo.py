"""The demonstration: draw landscapes, train on them, translate others, and compare with the truth."""

import sys
from pathlib import Path

from cyclestyle.commands import Parser, run_command
from cyclestyle.config import list_options, load_config
from cyclestyle.errors import UserError

CONFIG = Path(__file__).parents[1] / "configs" / "demo.yaml"
SHOWN = 5


def main(argv: list[str] | None = None) -> int:
    """Run the demonstration; returns the exit status."""
    return run_command(_main, argv)


def _main(argv: list[str] | None) -> int:
    parser = Parser(
        "demo",
        "python -m cyclestyle.demo",
        settings=tuple(name for name, _, _ in list_options()),
        description="Draw ink paintings and photographs, train on them, translate test pictures and compare.",
    )
    parser.add_argument("-o", "--out", type=Path, help="default: runs/demo, or the next free")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="as in train.py")
    args = parser.parse_intermixed_args(argv)
    out = args.out or _next_free(Path("runs/demo"))
    if out.exists():
        raise UserError(f"{out}: exists already; choose another folder with -o")
    data, run_dir = out / "data", out / "run"
    config = load_config(CONFIG, [f"data.root={data}", *args.overrides])

    from cyclestyle.data.synthetic import write_set
    from cyclestyle.training.loop import train

    print(f"1. drawing landscapes into {data}", flush=True)
    write_set(data, count=200, size=128, seed=1, test_count=16)
    print(f"2. training {config.train.max_steps} steps", flush=True)
    status = train(config, run_dir)
    if status:
        return status
    print("3. translating the test pictures\n", flush=True)
    print(_compare(data, run_dir, out))
    print(
        f"\nlook at it:    {out / 'sheet.png'}\nwatch it:      {_tensorboard()} --logdir {run_dir}   (then open http://localhost:6006)"
    )
    print(f"use it:        {sys.executable} -m cyclestyle.translate {run_dir} YOUR_PICTURES -o translated --to ink")
    return 0


def _compare(data: Path, run_dir: Path, out: Path) -> str:
    """Translate the test pictures both ways, write sheet.png, and give a table of the errors against the truth."""
    import numpy as np

    from cyclestyle.images import find_images, grid, read_image, write_image
    from cyclestyle.metrics.paired import psnr
    from cyclestyle.translate.translator import Translator

    truth = {
        name: [read_image(p) for p in find_images(data / f"test{d}")] for name, d in (("ink", "A"), ("photo", "B"))
    }
    columns: list[list[np.ndarray]] = []
    titles: list[str] = []
    lines = ["PSNR to the true picture in dB, mean of the test pairs (higher is nearer):"]
    for source, target in (("photo", "ink"), ("ink", "photo")):
        translator = Translator.load(run_dir, to=target)
        made = [translator(picture) for picture in truth[source]]
        for path, picture in zip(find_images(data / "testA"), made, strict=True):
            write_image(out / "translated" / f"{source}_to_{target}" / path.name, picture)
        before, after = (
            float(np.mean([psnr(p, t) for p, t in zip(pictures, truth[target], strict=True)]))
            for pictures in (truth[source], made)
        )
        gain = f"untranslated {before:5.2f}   translated {after:5.2f}   gain {after - before:+.2f}"
        lines.append(f"  {source:>5} to {target:5}  {gain}")
        columns += [truth[source], made, truth[target]]
        titles += [source, f"to {target}", f"true {target}"]
    rows = [[column[i] for column in columns] for i in range(min(SHOWN, len(truth["ink"])))]
    write_image(out / "sheet.png", grid(rows, titles))
    return "\n".join(lines)


def _tensorboard() -> Path | str:
    beside = Path(sys.executable).with_name("tensorboard")
    return beside if beside.exists() else "tensorboard"


def _next_free(path: Path) -> Path:
    number = 1
    while (free := path if number == 1 else path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return free


if __name__ == "__main__":
    sys.exit(main())
