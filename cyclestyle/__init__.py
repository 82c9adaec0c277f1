"""CycleGAN for pictures: train on two unpaired folders, translate anything.

from cyclestyle import Translator
translator = Translator.load("runs/ink2photo")
picture = translator(picture)  # uint8 (H, W, 3) in and out
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclestyle.translate.translator import Translator as Translator

__version__ = "0.1.0"
__all__ = ["Translator", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Translator":  # imports torch, which takes seconds: only when it is asked for
        from cyclestyle.translate.translator import Translator

        return Translator
    raise AttributeError(f"module 'cyclestyle' has no attribute '{name}'")
