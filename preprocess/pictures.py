"""Pictures as they come (grey, alpha, float, tensor) as the one form the matching code works on.

Inside: RGB, uint8, (H,W,3); masks bool (H,W). Channels come last, as in ComfyUI's IMAGE and in OpenCV.
"""

import math
from pathlib import Path

import numpy as np

ORIENTATION = 0x0112  # EXIF; 5 to 8 lie on their side


def to_rgb8(picture, background: int = 255, name: str = "picture") -> np.ndarray:
    """Any single picture as RGB uint8 (H,W,3).

    picture     (H,W), (H,W,1), (H,W,3) or (H,W,4), or the same with one leading batch of 1; uint8 0..255,
                bool, or float 0..1; a numpy array or a torch tensor.
    background  grey level 0..255 behind transparent pixels.
    Raises ValueError for any other shape, for an empty picture and for values that are not numbers.
    """
    array = _array(picture)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(
            f"The {name} has shape {tuple(np.shape(picture))}, expected (height, width, 1, 3 or 4): give one picture with channels last."
        )
    array = _bytes(array, name)
    if array.shape[2] == 1:
        return np.ascontiguousarray(np.repeat(array, 3, axis=2))
    if array.shape[2] == 4:
        alpha = array[..., 3:].astype(np.float32) / 255.0
        array = np.rint(array[..., :3] * alpha + background * (1.0 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(array)


def to_mask(mask, size: tuple[int, int] | None = None, name: str = "mask") -> np.ndarray:
    """A mask as bool (H,W), true above one half (above 128 of 255, as released); resized bilinearly where `size` is given and differs.

    mask  (H,W), (1,H,W), (1,1,H,W) or (H,W,1); bool, float 0..1, or whole numbers: 0 and 1, or 0..255.
    """
    array = _array(mask)
    squeezed = array
    while squeezed.ndim > 2 and 1 in (squeezed.shape[0], squeezed.shape[-1]):
        squeezed = squeezed[0] if squeezed.shape[0] == 1 else squeezed[..., 0]
    if squeezed.ndim != 2 or 0 in squeezed.shape:
        raise ValueError(f"The {name} has shape {tuple(array.shape)}, expected (height, width): give one mask of one channel.")
    if np.issubdtype(squeezed.dtype, np.integer):
        low, high = int(squeezed.min()), int(squeezed.max())
        if low < 0 or high > 255:
            raise ValueError(f"The {name} holds values from {low} to {high}, expected 0 and 1, or 0..255: give a mask, not labels.")
        squeezed = squeezed > 0 if high == 1 else squeezed.astype(np.uint8)
    values = _bytes(squeezed, name)
    if size is not None:
        values = resize(values, size)
    return values > 128


def resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (H,W[,C]) to `size` = (height, width), bilinear without antialiasing: the released matching code's choice."""
    import cv2

    if picture.shape[:2] == tuple(size):
        return picture
    return cv2.resize(picture, (int(size[1]), int(size[0])), interpolation=cv2.INTER_LINEAR)


def size_for_area(size: tuple[int, int], pixels: int | None) -> tuple[int, int]:
    """The (height, width) of about `pixels` pixels with the aspect of `size`; `size` itself for None.

    Equal areas give person and garment equal scale; 3:4 pictures come out at exactly 512x384 for 512*384.
    """
    if pixels is None:
        return int(size[0]), int(size[1])
    scale = math.sqrt(pixels / (size[0] * size[1]))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def move_points(points: np.ndarray, source: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    """Pixel coordinates (...,2) [x, y] of a picture of size `source` in the same picture at size `target`.

    Both sizes are (height, width). Pixel centres lie at whole numbers (OpenCV), so the half pixel is carried along.
    """
    ratio = np.array([target[1] / source[1], target[0] / source[0]], np.float64)
    return (np.asarray(points, np.float64) + 0.5) * ratio - 0.5


def read_picture(path, mode: str | None = "colour") -> np.ndarray:
    """A file as uint8 (H,W), (H,W,3) or (H,W,4), turned upright.

    mode  "colour": RGB or RGBA; "L": grey; "labels": one number per pixel (a palette's indices, else grey levels, else RGB);
          None: grey or RGB, palettes become RGB.
    Raises OSError, which names the file, where it is missing or no picture.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            if mode == "L":
                return np.asarray(picture.convert("L"))
            if mode == "colour":
                return np.asarray(picture.convert("RGBA" if "A" in picture.getbands() or "transparency" in picture.info else "RGB"))
            plain = ("L", "RGB", "P") if mode == "labels" else ("L", "RGB")
            return np.asarray(picture if picture.mode in plain else picture.convert("RGB"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{Path(path).name} is missing: expected the picture in {Path(path).parent.name}.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise OSError(f"{Path(path).name} cannot be read as a picture ({type(error).__name__}): replace the file.") from None


def picture_size(path) -> tuple[int, int]:
    """(height, width) of a picture as `read_picture` gives it; only the file's head is read. Raises OSError as that does."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            return file.size if file.getexif().get(ORIENTATION, 1) > 4 else file.size[::-1]
    except FileNotFoundError:
        raise FileNotFoundError(f"{Path(path).name} is missing: expected the picture in {Path(path).parent.name}.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise OSError(f"{Path(path).name} cannot be read as a picture ({type(error).__name__}): replace the file.") from None


def _array(value) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def _bytes(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"The {name} holds {array.dtype} values, expected uint8 in 0..255 or float in 0..1: convert it first.")
    if not np.isfinite(array).all():
        raise ValueError(f"The {name} holds values that are not finite, expected 0..1: check the node that made it.")
    if array.size and (array.max() > 2.0 or array.min() < -1.0):
        raise ValueError(f"The {name} holds values from {array.min():.3g} to {array.max():.3g}, expected 0..1: divide by 255 first.")
    return np.rint(np.clip(array, 0.0, 1.0) * 255.0).astype(np.uint8)
