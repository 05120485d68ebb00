"""A sample's page, and its files: seen by those who may see the dataset, and harmless."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from apps.datasets.models import Dataset, EmbeddingBlock, Sample
from apps.pipeline.images.media import thumbnail_folder
from apps.pipeline.images.thumbnails import thumbnail_path
from apps.pipeline.models import Source

AsUser = Callable[[User | None], Client]
SamplesIn = Callable[..., list[Sample]]


def address(sample: Sample, name: str = "sample") -> str:
    return reverse(name, args=[sample.dataset.dataset_id, sample.pk])


@pytest.fixture
def sample(private: Dataset, samples_in: SamplesIn, tmp_path: Path, settings: Any) -> Sample:
    """The middle one of three samples, with an original and a thumbnail."""
    settings.MEDIA_ROOT = tmp_path / "media"
    middle = samples_in(private, 3)[1]
    original = tmp_path / "images" / middle.path
    original.parent.mkdir(parents=True)
    Image.new("RGB", (640, 480), "teal").save(original)
    Source.objects.create(dataset=private, folder=str(tmp_path / "images"))
    middle.sha256 = hashlib.sha256(original.read_bytes()).hexdigest()
    middle.save()
    thumbnail = Path(thumbnail_path(str(thumbnail_folder(private.pk)), middle.sha256))
    thumbnail.parent.mkdir(parents=True)
    Image.new("RGB", (256, 192), "teal").save(thumbnail)
    return middle


@pytest.mark.parametrize("name", ["sample", "sample-thumbnail", "sample-original"])
def test_who_may_see_it(
    as_user: AsUser, sample: Sample, public: Dataset, owner: User, stranger: User, staff: User, name: str
) -> None:
    for user, status in ((None, 404), (stranger, 404), (owner, 200), (staff, 200)):
        assert as_user(user).get(address(sample, name)).status_code == status
    # Through another dataset's address it is not reached either.
    assert as_user(owner).get(reverse(name, args=[public.dataset_id, sample.pk])).status_code == 404
    assert as_user(owner).get(reverse(name, args=[sample.dataset.dataset_id, 10**30])).status_code == 404


def test_the_page(as_user: AsUser, owner: User, sample: Sample) -> None:
    html = re.sub(r"\s+", " ", as_user(owner).get(address(sample)).text)
    before, after = Sample.objects.exclude(pk=sample.pk).order_by("pk")
    assert f'href="{address(before)}" rel="prev"' in html
    assert f'href="{address(after)}" rel="next"' in html
    assert "640 × 480" in html
    assert "1.2 kB" in html
    assert sample.sha256 in html
    assert f'src="{address(sample, "sample-original")}"' in html
    assert "once this sample has an embedding" in as_user(owner).get(f"{address(sample)}?similar").text
    assert 'id="progress-header"' in html


def test_a_format_that_browsers_do_not_show(as_user: AsUser, owner: User, sample: Sample) -> None:
    Sample.objects.filter(pk=sample.pk).update(format="TIFF")
    html = as_user(owner).get(address(sample)).text
    assert f'src="{address(sample, "sample-thumbnail")}?h=' in html
    assert "Download the original" in html
    response = as_user(owner).get(address(sample, "sample-original"))
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Content-Disposition"].startswith("attachment")


def test_similar_images_with_their_score(as_user: AsUser, owner: User, sample: Sample) -> None:
    samples = list(Sample.objects.order_by("pk"))
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype="<f4")
    block = EmbeddingBlock.objects.create(
        dataset=sample.dataset, embedder="test", dimensions=2,
        sample_ids=np.array([s.pk for s in samples], dtype="<i8").tobytes(), vectors=vectors.tobytes(),
    )  # fmt: skip
    Sample.objects.update(embedding_block=block)
    assert 'hx-get="?similar" hx-trigger="load, again"' in as_user(owner).get(address(sample)).text
    partial = as_user(owner).get(f"{address(sample)}?similar", headers={"HX-Request": "true"}).text
    html = as_user(owner).get(f"{address(sample)}?similar").text.split("Similar images")[1]
    assert partial.strip() in html
    assert html.index("0.800") < html.index("0.600")
    assert html.index(f'alt="{samples[0].path}"') < html.index(f'alt="{samples[2].path}"')
    assert f'alt="{sample.path}"' not in html


def test_the_thumbnail_is_kept_by_the_browser_alone(as_user: AsUser, owner: User, sample: Sample) -> None:
    response = as_user(owner).get(address(sample, "sample-thumbnail"))
    assert response.headers["Content-Type"] == "image/jpeg"
    assert response.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_original_can_do_nothing(as_user: AsUser, owner: User, sample: Sample) -> None:
    response = as_user(owner).get(address(sample, "sample-original"))
    assert hashlib.sha256(response.content).hexdigest() == sample.sha256
    assert response.headers["Content-Type"] == "image/jpeg"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert response.headers["Cache-Control"].startswith("private")


def test_files_that_are_gone(as_user: AsUser, owner: User, sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "images" / sample.path).unlink()
    Sample.objects.filter(pk=sample.pk).update(sha256="f" * 64)
    assert as_user(owner).get(address(sample, "sample-original")).status_code == 404
    assert as_user(owner).get(address(sample, "sample-thumbnail")).status_code == 404


def test_the_page_of_one_that_is_gone_shows_its_thumbnail(
    as_user: AsUser, owner: User, sample: Sample, tmp_path: Path
) -> None:
    (tmp_path / "images" / sample.path).unlink()
    html = as_user(owner).get(address(sample)).text
    assert f'<img src="{address(sample, "sample-thumbnail")}?h=' in html
    assert address(sample, "sample-original") not in html
    assert "The file no longer exists." in html


def test_it_leads_back_to_its_place_in_the_gallery(
    as_user: AsUser, owner: User, private: Dataset, samples_in: SamplesIn
) -> None:
    samples = samples_in(private, 100)
    gallery = private.get_absolute_url()
    assert f'href="{gallery}#samples"' in as_user(owner).get(address(samples[20])).text
    html = as_user(owner).get(address(samples[50])).text
    [back] = re.findall(rf'href="({gallery}\?after=\d+)#samples"', html)
    assert f'href="{address(samples[50])}"' in as_user(owner).get(back).text


def test_a_link_that_leads_out_is_not_followed(as_user: AsUser, owner: User, sample: Sample, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    original = tmp_path / "images" / sample.path
    original.unlink()
    original.symlink_to(secret)
    assert as_user(owner).get(address(sample, "sample-original")).status_code == 404


def test_missing_samples_are_left_out(as_user: AsUser, owner: User, private: Dataset, samples_in: SamplesIn) -> None:
    first, gone, last = samples_in(private, 3)
    Sample.objects.filter(pk=gone.pk).update(missing_since=timezone.now())
    client = as_user(owner)
    gallery = client.get(private.get_absolute_url()).text
    assert f'id="sample-{last.pk}"' in gallery
    assert f'id="sample-{gone.pk}"' not in gallery
    assert 'Samples <span class="text-quiet">2</span>' in gallery
    assert f'href="{address(last)}" rel="next"' in re.sub(r"\s+", " ", client.get(address(first)).text)
    assert "The file no longer exists." in client.get(address(gone)).text


def test_the_proxy_sends_the_original(
    as_user: AsUser, owner: User, stranger: User, sample: Sample, settings: Any, tmp_path: Path
) -> None:
    settings.X_ACCEL_REDIRECT = "/files/"
    path = quote(str(tmp_path / "images" / sample.path))
    response = as_user(owner).get(address(sample, "sample-original"))
    assert (response.headers["X-Accel-Redirect"], response.content) == (f"/files{path}", b"")
    assert response.headers["Content-Type"] == "image/jpeg"
    assert "X-Accel-Redirect" not in as_user(stranger).get(address(sample, "sample-original")).headers


def test_a_thumbnail_that_the_browser_has_is_not_sent_again(as_user: AsUser, owner: User, sample: Sample) -> None:
    etag = as_user(owner).get(address(sample, "sample-thumbnail")).headers["ETag"]
    again = as_user(owner).get(address(sample, "sample-thumbnail"), headers={"If-None-Match": etag})
    assert (again.status_code, again.headers["ETag"], again.content) == (304, etag, b"")
    assert again.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    part = as_user(owner).get(address(sample, "sample-thumbnail"), headers={"Range": "bytes=0-1"})
    assert (part.status_code, part.content) == (206, b"\xff\xd8")
