"""Image files of one colour, as bytes."""

import io

from PIL import Image


def picture(size_wh=(64, 64), colour="white", kind="JPEG", **options):
    file = io.BytesIO()
    Image.new("RGB", size_wh, colour).save(file, kind, **options)
    return file.getvalue()
