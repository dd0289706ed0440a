"""Files that no program should trust, made from a seed.

All show a sky or nothing: none is a portrait.  Names tell the kind.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
import pillow_heif
import tifffile
from PIL import Image

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def sky(height: int = 96, width: int = 128) -> np.ndarray:
    """(H, W, 3) uint8, smooth."""
    down = np.linspace(0, 1, height)[:, None, None]
    return np.uint8(np.broadcast_to((90, 140, 220) + 30 * down, (height, width, 3)))


def saved(pixels: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def heic(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(stream, quality=80)
    return stream.getvalue()


def photos() -> dict[str, bytes]:
    """One valid file of each kind, by suffix."""
    pixels = sky()
    deep = np.uint16(pixels) * 257
    return {
        "jpg": saved(pixels, "JPEG"),
        "progressive.jpg": saved(pixels, "JPEG", progressive=True),
        "png": saved(pixels, "PNG"),
        "deep.png": cv2.imencode(".png", deep)[1].tobytes(),
        "webp": saved(pixels, "WEBP"),
        "lossless.webp": saved(pixels, "WEBP", lossless=True),
        "tif": saved(pixels, "TIFF", compression="tiff_lzw"),
        "deep.tif": cv2.imencode(".tif", deep)[1].tobytes(),
        "heic": heic(pixels),
        "avif": saved(pixels, "AVIF"),
        "gif": saved(pixels, "GIF"),
        "bmp": saved(pixels, "BMP"),
    }


def png_chunk(name: bytes, content: bytes) -> bytes:
    length, check = len(content), zlib.crc32(name + content)
    return struct.pack(">I", length) + name + content + struct.pack(">I", check)


def flat_png(width: int, height: int, bits: int, color_type: int, rows: int | None = None) -> bytes:
    """A PNG of zeros, complete or with the first `rows` only."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color_type]
    row = bytes(1 + (width * channels * bits + 7) // 8)
    packer = zlib.compressobj(1)
    packed = [packer.compress(row) for _ in range(height if rows is None else rows)]
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    return b"".join(
        (
            PNG_MAGIC,
            png_chunk(b"IHDR", header),
            png_chunk(b"IDAT", b"".join(packed) + packer.flush()),
            png_chunk(b"IEND", b""),
        )
    )


def with_png_chunk(name: bytes, content: bytes) -> bytes:
    """The valid PNG with one more chunk after its header."""
    png = photos()["png"]
    return png[:33] + png_chunk(name, content) + png[33:]


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that say they are huge, or are once unpacked."""
    valid = photos()
    yield "header.png", flat_png(60_000, 60_000, 8, 2, rows=4)
    yield "bits.png", flat_png(30_000, 30_000, 1, 0)
    yield "wide.png", flat_png(2_000_000_000, 1, 1, 0, rows=0)
    yield "deep.png", flat_png(20_000, 20_000, 16, 6, rows=4)
    jpeg = bytearray(valid["jpg"])
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    yield "header.jpg", bytes(jpeg)
    gif = bytearray(valid["gif"])
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    yield "header.gif", bytes(gif)
    bmp = bytearray(valid["bmp"])
    bmp[18:26] = struct.pack("<ii", 100_000, 100_000)
    yield "header.bmp", bytes(bmp)
    webp = bytearray(valid["lossless.webp"])
    webp[21:25] = b"\xff\xff\xff\x0f"  # 16384 x 16384
    yield "header.webp", bytes(webp)
    for name, size in (("header", 1 << 30), ("long", 1 << 17)):
        stream = io.BytesIO()
        tifffile.imwrite(stream, sky(), photometric="rgb")
        tiff = bytearray(stream.getvalue())
        for tag in (256, 257):  # width, length
            entry = tiff.index(struct.pack("<H", tag))
            tiff[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, size)
        yield f"{name}.tif", bytes(tiff)
    zeros = zlib.compress(bytes(100 << 20), 1)
    yield "profile.png", with_png_chunk(b"iCCP", b"x\0\0" + zeros)
    yield "text.png", with_png_chunk(b"zTXt", b"x\0\0" + zeros)
    yield "frames.gif", valid["gif"][:-1] + valid["gif"][13:-1] * 3_000 + b";"


def odd_tiffs() -> Iterator[tuple[str, bytes]]:
    """Values that are no colors, and structures that lead nowhere."""
    pixels = np.float32(sky()) / 255
    for name, array in {
        "nan": np.full_like(pixels[:, :, 0], np.nan),
        "infinite": np.full_like(pixels[:, :, 0], np.inf),
        "half": np.float16(pixels[:, :, 0]),
        "double": np.float64(pixels[:, :, 0]),
        "complex": np.complex64(pixels[:, :, 0]),
        "float_colors": pixels,
        "nan_colors": pixels * np.nan,
        "signed": np.int16(pixels[:, :, 0] * -1000),
        "long": np.uint32(pixels[:, :, 0] * 4e9),
        "longer": np.uint64(pixels[:, :, 0] * 1e19),
    }.items():
        stream = io.BytesIO()
        kind = "rgb" if array.ndim == 3 else "minisblack"
        tifffile.imwrite(stream, array, photometric=kind)
        yield f"{name}.tif", stream.getvalue()
    yield "no_directory.tif", b"II*\0\0\0\0\0"
    yield "far_directory.tif", b"II*\0\xff\xff\xff\x7f"
    yield "own_directory.tif", b"II*\0\x08\0\0\0" + b"\xff\xff" + b"\x08" * 4_000
    planes = io.BytesIO()
    tifffile.imwrite(
        planes, np.uint16(sky().transpose(2, 0, 1)), photometric="rgb", planarconfig="separate"
    )
    yield "planes.tif", planes.getvalue()


def animations() -> Iterator[tuple[str, bytes]]:
    frames = [Image.fromarray(sky() // divisor) for divisor in (1, 2, 3)]
    for kind, suffix in (("GIF", "gif"), ("WEBP", "webp"), ("PNG", "png"), ("AVIF", "avif")):
        content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        yield f"animated.{suffix}", content


def strangers() -> Iterator[tuple[str, bytes]]:
    """What is no photo, under the name of one."""
    rng = np.random.default_rng(0)
    for number, content in enumerate(
        (
            b"",
            b"\0",
            bytes(100_000),
            b"this is a text\n" * 100,
            b"<html><body>404</body></html>",
            b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
            b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(file) run showpage\n",
            b"PK\x03\x04" + bytes(60),
            b"\x7fELF" + bytes(60),
            b"8BPS\0\x01" + bytes(60),
            b"\0\0\x02\0" + bytes(8) + b"\xff\xff\xff\xff\x20\0" + bytes(60),  # TGA
            rng.bytes(5_000),
        )
    ):
        for suffix in ("jpg", "png", "heic"):
            yield f"stranger{number}.{suffix}", content
    for suffix, content in photos().items():
        yield f"magic.{suffix}", content[:12]


def sizes() -> Iterator[tuple[str, bytes]]:
    for height, width in ((1, 1), (1, 30_000), (30_000, 1), (2, 2), (63, 63), (63, 5_000)):
        yield f"{width}x{height}.png", saved(sky(height, width), "PNG")
    yield "1x1.gif", saved(sky(1, 1), "GIF")
    yield "30000x1.jpg", saved(sky(1, 30_000), "JPEG")


def cut() -> Iterator[tuple[str, bytes]]:
    """Valid files that end too early."""
    for suffix, content in photos().items():
        for share in (0.15, 0.3, 0.5, 0.7, 0.85):
            yield f"cut{share}.{suffix}", content[: int(share * len(content))]


def refused() -> dict[str, bytes]:
    """Files that have to be refused."""
    files: dict[str, bytes] = {}
    for group in (bombs, odd_tiffs, animations, strangers, sizes, cut):
        files |= {f"{group.__name__}_{name}": content for name, content in group()}
    return files


def tolerated() -> dict[str, bytes]:
    """Files that may be refused or read, as photos without a person."""
    cmyk = Image.fromarray(sky()).convert("CMYK")
    rubbish = b"Exif\0\0MM\0*\0\0\0\x08" + b"\xff" * 600
    files = {
        "cmyk.jpg": saved(cmyk, "JPEG"),
        "cmyk_profile.jpg": saved(cmyk, "JPEG", icc_profile=b"\xff" * 500),
        "exif.jpg": saved(sky(), "JPEG", exif=rubbish),
        "exif.png": saved(sky(), "PNG", exif=rubbish),
        "profile.webp": saved(sky(), "WEBP", icc_profile=b"acsp" * 50),
        "xmp.jpg": saved(sky(), "JPEG", xmp=b"<" * 900),
        "palette.png": saved(Image.fromarray(sky()).quantize(3), "PNG", transparency=b"\0\x80"),
        "lab.tif": saved(Image.new("LAB", (96, 96)), "TIFF"),
        # Nearly as large as photos may be.
        "large.png": flat_png(8_000, 7_900, 8, 6),
        "large_deep.png": flat_png(7_900, 8_000, 16, 6),
        "large.jpg": saved(Image.new("RGB", (8_000, 7_900)), "JPEG", progressive=True),
    }
    rng = np.random.default_rng(1)
    for suffix, content in photos().items():
        for number in range(4):
            damaged = np.frombuffer(content, np.uint8).copy()
            places = rng.integers(0, len(damaged), 1 + len(damaged) // 200)
            damaged[places] = rng.integers(0, 256, len(places))
            files[f"flipped{number}.{suffix}"] = damaged.tobytes()
    return files
