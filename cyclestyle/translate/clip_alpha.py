"""Transparency of VP8 and VP9: a clip of its own, in grey, of which Matroska has a packet beside each packet.

FFmpeg's decoders pass over it, and libvpx, which does not, gives no picture where it is missing.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from av import Packet

CODECS = {"vp8", "vp9"}  # that have it so
KIND = (1).to_bytes(8, "big")  # of what lies beside a packet (WebM's BlockAddID)
AHEAD = 24  # pictures of it that wait for theirs, at most; FFmpeg decodes up to 16 at once


class AlphaBeside:
    """Decodes it packet by packet, each before the packet that it lies beside is decoded.

    Args:
        codec: what FFmpeg calls it.
    """

    def __init__(self, codec: str) -> None:
        import av

        self._decoder: Any = av.CodecContext.create(codec, "r")
        self._decoder.thread_count = 1  # so that it is never behind
        self._waiting: dict[int | None, np.ndarray] = {}  # by the times of their pictures

    def read(self, packet: "Packet[Any]") -> None:
        """Decode what lies beside a packet, if anything does.

        Raises:
            av.FFmpegError: it is damaged.
        """
        import av

        for data in packet.iter_sidedata():
            content = bytes(data)
            if data.data_type == "matroska_block_additional" and content[:8] == KIND:
                made = av.Packet(content[8:])
                made.pts = packet.pts
                for frame in self._decoder.decode(made):
                    if frame.format.components[0].bits == 8:
                        self._keep(frame)

    def _keep(self, frame: Any) -> None:
        plane = frame.planes[0]
        levels = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        self._waiting.setdefault(frame.pts, levels.copy())  # of two pictures with one time, the first is shown
        while len(self._waiting) > AHEAD:  # of pictures that were passed over
            del self._waiting[next(iter(self._waiting))]

    def take(self, pts: int | None, shape: tuple[int, ...]) -> np.ndarray | None:
        """That of the picture with a time: uint8 (H, W), scaled to a shape; None: there is none, it is opaque."""
        import cv2

        found = self._waiting.pop(pts, None)
        if found is None or found.shape == shape:
            return found
        return np.asarray(cv2.resize(found, shape[::-1], interpolation=cv2.INTER_LINEAR))
