"""The words that options of data take, without what they stand for: `--help` imports no more.

What a word stands for is loaded where it is used: `DATASETS` in `clmer.data.registry`, `WRITERS` in
`clmer.data.synthetic`, protocols in `clmer.data.splits`. `tests/test_install.py` compares them.
"""

#: The data sets, as `clmer.data.registry.DATASETS` has them.
DATASET_NAMES = (
    *("amigos-short", "amigos-long", "deap", "deap-raw", "eegmat", "man2"),
    *("manifest", "bids"),
)
#: Those that can be generated, as `clmer.data.synthetic.WRITERS` has them.
GENERATED = ("deap", "deap-raw", "man2", "amigos-short", "amigos-long")

#: Which groups are never split across training, validation and test (`clmer.data.splits`).
PROTOCOLS = ("subject", "loso", "trial", "stimulus", "block", "shuffled")
#: Protocols that keep groups, by which a validation part can be taken from training.
KEEP_GROUPS = ("subject", "loso", "trial", "stimulus")
#: What results call the protocol of splits of one's own (`clmer.data.splits.own`).
OWN = "own"

#: Where people's answers are cut into classes (`clmer.data.levels`).
NO_LEVELS = "none"
LEVELS = (NO_LEVELS, "median", "tercile", "person-median", "person-tercile")

#: What may be done to landmarks: nothing, or taking the head's motion out.
FACES = ("raw", "aligned")
#: Modalities made of pictures, one per window: what serialisation is compared with.
IMAGES = ("pixels", "pixel-rows", "mobilevit")
