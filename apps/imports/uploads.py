"""Files that arrive piece by piece: what tus 1.0.0 asks of a server (core, creation, termination)."""

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import IO

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.artifacts import artifact_storage, store_file
from apps.core.errors import AppError, Conflict, FieldError, InvalidInput
from apps.imports.models import Upload
from apps.projects.models import Project

MAX_UNFINISHED = 20
FORGOTTEN = timedelta(days=7)
_CHUNK = 1 << 20


class TooLarge(AppError):
    """The file is longer than this server takes."""

    status = 413
    title = "Too large"


def create_upload(*, project: Project, file_name: str, length: int, created_by: User | None) -> Upload:
    """Announce a file of so many bytes; unfinished ones that nobody has touched for a week go."""
    if length > settings.IMPORT_MAX_BYTES:
        raise TooLarge(_("A file may have %(bytes)s bytes.") % {"bytes": settings.IMPORT_MAX_BYTES})
    unfinished = Upload.objects.filter(project=project, offset__lt=F("length"), imports=None)
    for old in unfinished.filter(created_at__lt=timezone.now() - FORGOTTEN):
        delete_upload(upload=old)
    if unfinished.count() >= MAX_UNFINISHED:
        raise Conflict(_("The project has %(count)s unfinished uploads; end some first.") % {"count": MAX_UNFINISHED})
    name = " ".join(file_name.replace("\x00", " ").split())[-200:] or "upload"
    return Upload.objects.create(project=project, file_name=name, length=length, created_by=created_by)


def append(*, upload: Upload, offset: int, stream: IO[bytes]) -> Upload:
    """Keep the bytes of one request; whatever has arrived when a connection breaks is kept too.

    Raises Conflict when the offset is not where the file ends so far: somebody else has sent that piece.
    """
    if offset != upload.offset:
        raise Conflict(_("The file goes on at %(offset)s.") % {"offset": upload.offset})
    with tempfile.NamedTemporaryFile() as piece:
        size, left = 0, upload.length - offset
        try:
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
                if size > left:
                    raise InvalidInput(_("More bytes came than were announced."), [FieldError("", "Too many bytes.")])
                piece.write(chunk)
        except OSError:  # the connection broke: what is here need not be sent again
            pass
        if not size:
            return upload
        piece.flush()
        name = f"uploads/{upload.pk}/{offset:015d}-{size}"
        with transaction.atomic():
            locked = Upload.objects.select_for_update().get(pk=upload.pk)
            if locked.offset != offset:
                raise Conflict(_("The file goes on at %(offset)s.") % {"offset": locked.offset})
            store_file(Path(piece.name), name)
            locked.pieces = [*locked.pieces, name]
            locked.offset = offset + size
            locked.save(update_fields=["pieces", "offset"])
    return locked


def delete_upload(*, upload: Upload) -> None:
    """Give an upload up; one that an import has read, or will, stays."""
    with transaction.atomic():
        locked = Upload.objects.select_for_update().get(pk=upload.pk)
        if locked.imports.exists():
            raise Conflict(_("An import was made of this upload; it stays with it."))
        locked.delete()
    for name in locked.pieces:
        artifact_storage().delete(name)
