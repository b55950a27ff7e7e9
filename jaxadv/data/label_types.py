"""Types of labels that the TkMIA paper suppresses together (its Tables 6-8), by data set.

Names are those of the data sets' own class lists. Table 6 prints VOC's animals after "Vehicles"
and its vehicles after "Animals"; here each is where it belongs.
"""

VOC = {
    "vehicles": ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
    "animals": ("bird", "cat", "cow", "dog", "horse", "sheep"),
    "household": ("bottle", "chair", "diningtable", "pottedplant", "sofa", "tvmonitor"),
    "person": ("person",),
}
COCO = {
    "person": ("person",),
    "daily necessities": (
        "backpack", "umbrella", "handbag", "tie", "suitcase", "book", "clock", "vase", "scissors",
        "teddy bear", "toothbrush",
    ),
    "furniture": ("chair", "couch", "potted plant", "bed", "dining table"),
    "electrical equipment": (
        "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster",
        "refrigerator",
    ),
}  # fmt: skip
NUS_WIDE = {
    "animals": (
        "elk", "bear", "cat", "zebra", "fish", "whales", "dog", "cow", "horse", "fox", "birds",
        "tiger", "animal",
    ),
    "buildings": ("bridge", "statue", "tower", "temple", "buildings", "house", "castle"),
    "landscape": (
        "waterfall", "rainbow", "lake", "sunset", "moon", "ocean", "beach", "town", "glacier",
        "sun", "clouds", "valley", "cityscape", "frost", "sky", "harbor", "garden", "earthquake",
        "surf", "mountain", "nighttime",
    ),
    "traffic": (
        "plane", "airport", "train", "boats", "cars", "road", "vehicle", "street", "railroad",
    ),
}  # fmt: skip
EVERY = (VOC, COCO, NUS_WIDE)
