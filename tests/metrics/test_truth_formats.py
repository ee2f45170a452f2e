"""Every format of truth that is read: recognised, and the same objects in each."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from onnxcam.errors import TruthError
from onnxcam.metrics import Truth
from onnxcam.metrics.truth import Annotation
from onnxcam.metrics.truth.geometry import draw, run_mask
from tests.metrics import truth_files as made
from tests.metrics.truth_files import CAT, DOG, MAKERS, NAMES, SIZE


@pytest.fixture(autouse=True)
def _yaml(request: pytest.FixtureRequest) -> None:
    if "yolo" in request.node.name:
        pytest.importorskip("yaml", reason="the extra onnxcam[truth] is not installed")


def inside(box: tuple[float, float, float, float]) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    x1, y1, x2, y2 = map(int, box)
    mask[y1:y2, x1:x2] = True
    return mask


@pytest.mark.parametrize("format", MAKERS)
def test_each_format_is_recognised_and_says_the_same(format: str, tmp_path: Path) -> None:
    truth = Truth(MAKERS[format](tmp_path))
    assert truth.format == format
    assert truth.locates
    found = truth.annotation("elsewhere/photos/img.jpg", SIZE)
    assert found is not None
    assert [one.label for one in found.objects] == NAMES
    for one, box in zip(found.objects, (CAT, DOG), strict=True):
        assert one.box == pytest.approx(box)
        if one.mask is not None:
            np.testing.assert_array_equal(one.mask(), inside(box))
    regions = truth.regions("img.jpg", SIZE)
    assert list(regions) == NAMES
    np.testing.assert_array_equal(regions["dog"].mask, inside(DOG))
    assert truth.annotation("other.jpg", SIZE) is None
    with pytest.raises(TruthError, match=r"other"):
        truth.regions("other.jpg", SIZE)


@pytest.mark.parametrize("format", [format for format in MAKERS if format != "boxes"])
def test_an_image_without_objects_is_no_missing_image(format: str, tmp_path: Path) -> None:
    assert Truth(MAKERS[format](tmp_path)).annotation("photos/empty.jpg", SIZE) == Annotation()


@pytest.mark.parametrize("format", MAKERS)
def test_the_format_can_be_named(format: str, tmp_path: Path) -> None:
    path = MAKERS[format](tmp_path)
    assert Truth(path, format=format).format == Truth(f"{format}:{path}").format == format
    assert Truth(f"{format}:{path}").path == path


def test_coco(tmp_path: Path) -> None:
    truth = Truth(made.coco(tmp_path))
    assert truth.names == NAMES  # by their ids
    assert truth.index("dog", 2, None) == 1
    cat, dog = truth.annotation("img.jpg", SIZE).objects
    assert (cat.crowd, dog.crowd, cat.area) == (False, True, 12)
    assert cat.keypoints == ((2, 3, 2), (0, 0, 0))


def test_captions_are_text(tmp_path: Path) -> None:
    found = made.coco_object()
    found["annotations"] = [{"id": 1, "image_id": 7, "caption": "a cat"}]
    del found["categories"]
    assert Truth(made.save(tmp_path / "captions.json", found)).annotation("img.jpg", SIZE).text == "a cat"


def test_voc_has_difficult_objects_and_masks_of_classes(tmp_path: Path) -> None:
    made.voc(tmp_path)
    mask = np.zeros(SIZE, np.uint8)
    mask[0, :3] = 8, 12, 255
    (tmp_path / "SegmentationClass").mkdir()
    assert cv2.imwrite(str(tmp_path / "SegmentationClass" / "img.png"), mask)
    found = Truth(tmp_path).annotation("img.jpg", SIZE)
    assert [one.difficult for one in found.objects] == [False, True]
    assert found.mask[0, :4].tolist() == [8, 12, -1, 0]
    assert Truth(tmp_path / "Annotations").annotation("img.jpg", SIZE).mask is None
    one = Truth(tmp_path / "Annotations" / "img.xml")
    assert one.single
    assert one.annotation("any.jpg", SIZE).labels == ("cat", "dog")


def test_pixels_of_voc_that_count_from_0(tmp_path: Path) -> None:
    text = made.VOC.replace("<ymin>1<", "<ymin>0<").replace("<xmin>6<", "<xmin>5<")
    made.save(tmp_path / "img.xml", text)
    assert Truth(tmp_path).annotation("img.jpg", SIZE).objects[1].box == DOG


def test_yolo_polygons_keypoints_and_oriented_boxes(tmp_path: Path) -> None:
    turned = [4.0, 0.0, 8.0, 4.0, 4.0, 8.0, 0.0, 4.0]
    rows = f"0 {made.share(made.corners(CAT))}\n1 {made.share(turned)}\n"
    cat, dog = Truth(made.yolo(tmp_path / "seg", rows)).annotation("img.jpg", SIZE).objects
    np.testing.assert_array_equal(cat.mask(), inside(CAT))
    assert dog.box == pytest.approx((0, 0, 8, 8))
    assert dog.mask().sum() == 32
    rows = f"0 {made.centre(CAT)} {made.share([2, 3])} 2 {made.share([0, 0])} 0\n"
    (cat,) = Truth(made.yolo(tmp_path / "pose", rows, "kpt_shape: [2, 3]")).annotation("img.jpg", SIZE).objects
    assert cat.keypoints == (pytest.approx((2, 3, 2)), (0, 0, 0))


def test_yolo_without_a_yaml(tmp_path: Path) -> None:
    truth = Truth(made.labels_only(tmp_path))
    assert (truth.format, truth.names) == ("yolo", NAMES)
    assert truth.annotation("img.jpg", SIZE).labels == ("cat", "dog")
    assert truth.annotation("empty.jpg", SIZE) == Annotation()
    (tmp_path / "labels" / "classes.txt").unlink()
    assert Truth(tmp_path).annotation("img.jpg", SIZE).labels == (0, 1)  # the folder above; indices


def test_yolo_names_by_index(tmp_path: Path) -> None:
    config = made.yolo(tmp_path)
    config.write_text("val: images/val\nnames: {0: cat, 1: dog}")
    assert Truth(config).names == Truth(tmp_path).names == NAMES


def test_class_folders(tmp_path: Path) -> None:
    for name in ("train/cat/a.jpg", "val/cat/b.jpg", "val/dog/c.jpg"):
        made.picture(tmp_path / name)
    for root in (tmp_path, tmp_path / "val"):
        truth = Truth(root)
        assert (truth.format, truth.locates) == ("imagefolder", False)
        assert truth.names == NAMES
        assert truth.annotation(tmp_path / "val" / "dog" / "c.jpg", SIZE) == Annotation(classes=("dog",))
        assert truth.regions("b.jpg", SIZE) == {}
    assert truth.annotation("a.jpg", SIZE) is None


def test_folders_of_images_and_masks_are_no_classes(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        made.picture(tmp_path / name / "a.png")
    with pytest.raises(TruthError, match="is of no known format"):
        Truth(tmp_path)
    assert Truth(tmp_path / "masks").format == "masks"


@pytest.mark.parametrize(
    ("text", "expected", "said"),
    [
        ("image,label\nimg.jpg,cat\nb.jpg,dog\n", Annotation(classes=("cat",)), "image from 'image', label from"),
        ("image,label\nimg.jpg,3\nimg.jpg,4.0\n", Annotation(classes=("3", "4")), "label from 'label'"),
        ("path,text\nimg.jpg,\"AB, 12\"\n", Annotation(text="AB, 12"), "text from 'text'"),
        ("image,note,age,angle\nimg.jpg,x,31,-2.5\n", Annotation(numbers=(31, -2.5)), "numbers from 'age' 'angle'"),
        (",image_id,id,age\n0,img,7,31\n", Annotation(numbers=(31,)), "image from 'image_id', numbers from 'age'"),
        ("file,target\nimg.jpg,0.5\nb.jpg,2\n", Annotation(numbers=(0.5,)), "numbers from 'target'"),
    ],
)  # fmt: skip
def test_columns_of_a_csv(text: str, expected: Annotation, said: str, tmp_path: Path) -> None:
    truth = Truth(made.save(tmp_path / "truth.csv", text))
    assert truth.annotation("photos/img.jpg", SIZE) == expected
    assert said in truth.notes[0]
    assert not truth.locates


def test_boxes_of_a_csv_by_width_and_height(tmp_path: Path) -> None:
    truth = Truth(made.save(tmp_path / "truth.tsv", "image\tx\ty\tw\th\nimg.jpg\t1\t2\t3\t4\n"))
    assert truth.annotation("img.jpg", SIZE).objects[0].box == CAT
    assert "box from 'x' 'y' 'w' 'h'" in truth.notes[0]


def test_tags_of_cvat_are_classes(tmp_path: Path) -> None:
    truth = Truth(made.cvat(tmp_path).parent)
    assert truth.annotation("img.jpg", SIZE).classes == ("indoor",)
    assert truth.names == NAMES


def test_a_circle_of_labelme(tmp_path: Path) -> None:
    shape = {"label": "ball", "shape_type": "circle", "points": [[5, 4], [8, 4]]}
    truth = Truth(made.save(tmp_path / "img.json", {"shapes": [shape], "imagePath": "img.jpg"}))
    (ball,) = truth.annotation("img.jpg", SIZE).objects
    assert ball.box == pytest.approx((2, 1, 8, 7))
    assert ball.mask().sum() == pytest.approx(9 * np.pi, abs=4)


def test_images_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    file = made.save(tmp_path / "truth.csv", "image,label\na/img.jpg,cat\nb/img.jpg,dog\n")
    truth = Truth(file)
    assert truth.annotation("/data/b/img.jpg", SIZE).classes == ("dog",)
    assert truth.annotation(r"data\a\img.jpg", SIZE).classes == ("cat",)
    with pytest.raises(TruthError, match=r"2 images are called img.jpg; name the image by its path as written"):
        truth.annotation("c/img.jpg", SIZE)


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    found = made.coco_object()
    found["images"].append(found["images"][0])
    found["annotations"].append(found["annotations"][0] | {"image_id": 1})
    notes = Truth(made.save(tmp_path / "twice.json", found)).notes
    assert "1 images are there twice; the first entry counts" in notes[0]
    assert "1 annotations are of images that it does not list; left out" in notes[1]


def test_classes_in_the_order_of_the_truth(tmp_path: Path) -> None:
    truth = Truth(made.coco(tmp_path))
    assert truth.index("dog", 2, None) == 1
    assert truth.index("dog", 3, ["dog", "cow", "cat"]) == 0
    assert "class 0 of the model is cat" in truth.order_notes(2, None)[0]
    assert truth.order_notes(3, None) == truth.order_notes(2, NAMES) == ()
    for name in ("n01440764", "n01443537"):
        made.picture(tmp_path / "photos" / name / f"{name}.jpg")
    truth = Truth(tmp_path / "photos")
    assert truth.index("n01443537", 2, ["tench", "goldfish"]) == 1
    assert "class 0 of the model is n01440764" in truth.order_notes(2, ["tench", "goldfish"])[0]


def test_the_coverage_is_counted(tmp_path: Path) -> None:
    truth = Truth(made.coco(tmp_path))
    assert truth.coverage(["img.jpg", "empty.jpg"]) == ()
    assert "2 of 3 images are not in the truth, the first is a.jpg" in truth.coverage(["img.jpg", "a.jpg", "b.jpg"])[0]


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
def test_masks_of_polygons_and_runs_are_those_of_pycocotools() -> None:
    library = pytest.importorskip("pycocotools.mask", reason="the extra onnxcam[truth] is not installed")
    rng, size = np.random.default_rng(0), (60, 80)
    for _ in range(20):
        mask = cv2.GaussianBlur(rng.random(size), (0, 0), 3) > 0.5
        packed = library.encode(np.asfortranarray(mask.astype(np.uint8)))
        np.testing.assert_array_equal(run_mask(packed["counts"].decode(), size, ""), mask)
        points = rng.uniform((2, 2), (78, 58), (5, 2))
        theirs = library.decode(library.merge(library.frPyObjects([points.reshape(-1).tolist()], *size))).astype(bool)
        ours = draw([points], size)
        edge = cv2.dilate(ours.astype(np.uint8), np.ones((3, 3))) - cv2.erode(ours.astype(np.uint8), np.ones((3, 3)))
        assert not (ours ^ theirs)[edge == 0].any()
