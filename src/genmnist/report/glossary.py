"""The words of the report page, explained to a student. The page links each to its line here."""

GLOSSARY = {
    "active units": ("Latent factors that differ from image to image; the rest the model has switched off."),
    "bits per dimension": (
        "How many bits a pixel takes if the model is used to compress images. Lower is better; the bound is"
        " a safe overestimate, the exact value follows the model's own equation."
    ),
    "class imbalance": (
        "Half the sum of how far the share of each digit is from that among test images: 0 if all ten are "
        "drawn as often as they occur, towards 1 if only one is."
    ),
    "confidence": "The probability that the classifier gives to the digit it thinks likeliest.",
    "coverage": (
        "The share of test images that have a sample close by; like recall, but less swayed by outliers."
    ),
    "density": (
        "How many neighbourhoods of test images a sample lies in, 1 for real ones; like precision, but less"
        " swayed by outliers."
    ),
    "features": (
        "The 128 numbers by which a small classifier tells digits apart. Images that look alike have "
        "similar features, so distances are taken between them and not between pixels."
    ),
    "Fréchet distance": (
        "How far the samples are from the test images as a crowd: both are brought to features, and the "
        "means and spreads of the two clouds are compared (known as FID where the features are Inception's). "
        "0 is perfect, but even real digits do not reach it: a finite set never has exactly the spread of "
        "another, and the distance falls as n grows. So it is quoted with n, beside that of n real images, "
        "and compared at one n alone. In brackets the interval that holds 95 % of its bootstrap."
    ),
    "guidance": (
        "Pushing each step of sampling further towards the digit that was asked for, by a strength w."
    ),
    "half settled": (
        "The timestep from which on half of the final picture is there, for coarse shapes first and fine "
        "detail last; 999 is pure noise, 0 the finished digit."
    ),
    "half-way": (
        "What lies in the middle of the walk from one image to another: how far it is from the nearest real"
        " image, and how sure the classifier is of it."
    ),
    "kernel distance": (
        "Another distance between the two crowds (KID), which does not depend on n but is harder to read: "
        "it is near 0 for real images and may fall below."
    ),
    "KL": ("How many nats the code of an image costs: how far the encoder's answer is from the prior."),
    "label kept": "The share of samples in which a classifier reads the digit that was asked for.",
    "latent": (
        "Hidden: the few numbers from which a VAE draws an image, or the noise that a diffusion model "
        "starts from."
    ),
    "mutual information gap": (
        "Whether a property of the digit, such as its slant, has a latent factor of its own: 1 if so, 0 if "
        "it is smeared over several."
    ),
    "near-copies": (
        "Samples that are nearer to a training image than 99 % of new real digits are: more than 1 % of "
        "them hints at memorising."
    ),
    "negative ELBO": (
        "The VAE's loss: a safe overestimate of how surprised the model is by an image, in nats. It is "
        "reconstruction (what is lost on the way through the code) and KL (what the code costs). Lower is "
        "better."
    ),
    "precision": "The share of samples that lie among the test images: do they look real?",
    "prior": "The bell curve from which latent codes are drawn to make new images.",
    "recall": "The share of test images that lie among the samples: is there one of every kind?",
    "reconstruction": "What is lost if an image is coded and decoded again, in nats.",
    "sharpness": "How steep the edges of strokes are; blurred digits have less of it.",
    "timestep": "How noisy an image is, from 999, where nothing is left of it, down to 0.",
    "validation loss": (
        "The loss on images that were not trained on. Losses of different kinds do not compare."
    ),
}
