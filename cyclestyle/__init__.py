"""CycleGAN for pictures: train on two unpaired folders, translate anything.

from cyclestyle import Translator
translator = Translator.load("runs/ink2photo")
picture = translator(picture)  # uint8 (H, W, 3) in and out
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclestyle.translate.style import Style as Style
    from cyclestyle.translate.translator import Translator as Translator

__version__ = "0.1.0"
__all__ = ["Style", "Translator", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("Style", "Translator"):  # import torch, which takes seconds: only when asked for
        from cyclestyle.translate import style, translator

        return style.Style if name == "Style" else translator.Translator
    raise AttributeError(f"module 'cyclestyle' has no attribute '{name}'")
