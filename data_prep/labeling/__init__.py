"""The paper's labeling: mattes of labeled trimaps by two methods, chosen by a person."""
